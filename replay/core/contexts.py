"""Context variables: each execution has its own, and each step call a copy of them."""

from __future__ import annotations

import decimal
from contextvars import Context


def copied(context: Context | None) -> Context:
    """Return a copy of *context*, an empty one for None or an empty one.

    The arithmetic context of `decimal` is copied, too: it is the one value in a variable that everybody changes in place.
    """
    if not context:  # no variable was ever set, as nearly always
        return Context()
    copy = context.copy()
    copy.run(_copy_decimal_context)
    return copy


def _copy_decimal_context() -> None:
    decimal.setcontext(decimal.getcontext().copy())
