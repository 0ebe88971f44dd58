"""Hypothesis profiles, and the budgets of oracles that follow them: `dev` while writing, `ci` before landing, `nightly` to search.

No profile has a deadline: a test must not fail because the machine is busy.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_CI = 100
_EXAMPLES = {"dev": _CI // 10, "ci": _CI, "nightly": _CI * 20}


def load_profile() -> str:
    """Register the profiles; load the one that HYPOTHESIS_PROFILE names, else `ci` where CI is set, else `dev`."""
    for name, examples in _EXAMPLES.items():
        settings.register_profile(
            name,
            max_examples=examples,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            print_blob=True,
            derandomize=name == "ci",  # The same commit has the same verdict.
            database=None if name == "ci" else settings.get_profile("default").database,
        )
    chosen = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
    settings.load_profile(chosen)
    return chosen


def examples(in_ci: int) -> int:
    """Return the budget that corresponds to *in_ci* examples (or seeds) under the profile in force; at least 1."""
    return max(1, in_ci * settings().max_examples // _CI)
