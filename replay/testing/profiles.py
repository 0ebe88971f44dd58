"""Settings of Hypothesis for scenarios: `dev` while writing, `ci` before a merge, `nightly` to search."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = {"dev": 30, "ci": 300, "nightly": 10_000}
"""Number of scenarios of each test, by profile."""


def load_profile(name: str | None = None) -> str:
    """Register the profiles, and load one: call it in `conftest.py`. No profile has a deadline.

    Args:
        name: `dev`, `ci` or `nightly` (default: the variable `HYPOTHESIS_PROFILE`; else `ci` where `CI` is set, else `dev`).

    Returns:
        The name of the loaded profile. `ci` is derandomized, so that the same commit has the same verdict.

    Raises:
        ValueError: There is no such profile.
    """
    chosen = name or os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
    if chosen not in EXAMPLES:
        raise ValueError(f"{chosen!r} is no profile. Fix: one of {', '.join(EXAMPLES)}")
    for each, examples in EXAMPLES.items():
        settings.register_profile(
            each,
            max_examples=examples,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            print_blob=True,
            derandomize=each == "ci",
        )
    settings.load_profile(chosen)
    return chosen
