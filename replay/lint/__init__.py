"""Static check of workflow functions: hidden inputs, forgotten yields, shared state. Runs none of the code it reads."""

from __future__ import annotations

from replay.lint.rules import RULES, Finding, Rule
from replay.lint.scan import lint_function, lint_module, lint_source

__all__ = ["RULES", "Finding", "Rule", "lint_function", "lint_module", "lint_source"]
