"""Ids: their rules, and those derived from others, so that a repeated request has the same id."""

from __future__ import annotations

import re

from replay.core.errors import ReservedId

_ID = re.compile(r"[A-Za-z0-9._:@/+=#~-]{1,200}", re.ASCII)
_RESERVED = ("__", "rollback:")


def shortened(value: object) -> str:
    """Return a wrong value for a message: a megabyte of text must not fill the log that tells of it."""
    text = repr(value if not isinstance(value, str) else value[:201])
    length = f"... ({len(value):,} characters)" if isinstance(value, str) and len(value) > 200 else ""
    return f"{text[:240]}{length}"


def check_id(value: str, what: str) -> str:
    """Return *value* if it can be an execution's, schedule's, signal's or workflow's id.

    Raises:
        ReservedId: It is empty, longer than 200, or holds other characters than ASCII letters, digits and `._:@/+=#~-`.
    """
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ReservedId(
            f"{what} {shortened(value)} is not allowed: use 1 to 200 ASCII letters, digits or any of . _ : @ / + = # ~ -"
        )
    return value


def check_text(value: object, what: str) -> str:
    """Return *value* if it is a text.

    Raises:
        ReservedId: It is something else.
    """
    if not isinstance(value, str):
        raise ReservedId(f"{what} id {shortened(value)} is not allowed: use a text of 1 to 200 characters")
    return value


def check_step_id(value: str, what: str) -> str:
    """Return *value* if a command may carry it as its id.

    Raises:
        ReservedId: It is empty, too long, or starts with a prefix that the engine uses (`__`, `rollback:`).
    """
    if not check_text(value, what) or len(value) > 200:
        raise ReservedId(f"{what} id {shortened(value)} is not allowed: use a text of 1 to 200 characters")
    if value.startswith(_RESERVED):
        raise ReservedId(
            f"{what} id {value!r} starts with a reserved prefix ({', '.join(_RESERVED)}). Fix: choose another id"
        )
    return value


def is_plain(id: object) -> bool:
    """Tell whether *id* is surely a valid step id that was given to no repetition of another (`ship#2`)."""
    return id.__class__ is str and 0 < len(id) <= 200 and id[0] not in "_r" and "#" not in id


def check_key(value: object, what: str) -> str:
    """Return *value* if executions or messages can be told apart by it.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty: all that have no key would be taken for the same.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} takes a text, not {shortened(value)}. Fix: {what}=str(...)")
    if not value:
        raise ValueError(f"{what} is empty. Fix: pass what tells one from another, or None if nothing does")
    return value


def defined_id(definition: object, kind: str, where: str) -> str:
    """Return the id of a signal or an event that is given by its definition or by its id.

    Raises:
        TypeError: It is neither.
    """
    id = definition if isinstance(definition, str) else getattr(definition, "id", None)
    if not isinstance(id, str):
        raise TypeError(f"{where} takes a {kind} (or its id), not {shortened(definition)}")
    return id


def routing(execution_id: str) -> str:
    """Return the part of an id that decides its shard: executions that share it can change in one transition."""
    return execution_id.split("~", 1)[0]


def digest_id(*parts: str) -> str:
    """Return 26 characters that stand for *parts* (collisions: about one in 2**64 pairs of squares)."""
    import hashlib  # takes 4 ms, and is seldom needed

    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=13).hexdigest()


def keyed_id(workflow: str, key: str) -> str:
    """Return the id of the execution that is started with an idempotency key: the key needs no index of its own."""
    return f"k-{digest_id(workflow, key)}"


def is_keyed(execution_id: str) -> bool:
    """Tell whether *execution_id* comes from an idempotency key: its execution may belong to somebody else."""
    return execution_id.startswith("k-") and "~" not in execution_id


def replacing_id(parent_id: str, run: int, replaced: str) -> str:
    """Return the id of the child that a retry starts in the place of execution *replaced*."""
    return f"{routing(parent_id)[:150]}~{digest_id(parent_id, str(run), '', replaced)}"


def child_id(parent_id: str, run: int, step_id: str, again: int = 0) -> str:
    """Return the default id of a child, on its parent's shard; *again* counts how often its start was voided by a retry."""
    return f"{routing(parent_id)[:150]}~{digest_id(parent_id, str(run), step_id, *([str(again)] if again else []))}"
