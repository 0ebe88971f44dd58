"""Static checks of workflow functions: hidden inputs, forgotten yields, shared state. No checked code runs."""

from __future__ import annotations

from replay.lint.rules import RULES, Finding, Rule
from replay.lint.scan import lint_function, lint_module, lint_source

__all__ = ["RULES", "Finding", "Rule", "lint_function", "lint_module", "lint_source"]
