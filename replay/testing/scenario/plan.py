"""Plans: the choices of a scenario, drawn once, and replayed from a one-line token."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from replay.codec import TaggedJson
from replay.core.errors import NotSerializable, Undecodable
from replay.definition import Workflow, top_level_packages
from replay.testing.simulation.stubs import Hangs, Takes

if TYPE_CHECKING:
    from hypothesis import strategies as st


class Choices:
    """Choices of a scenario: drawn by *draw* and kept, or repeated from *made* in the same order.

    Attributes:
        made: The choices so far.
    """

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any] | None, made: Sequence[Any] = ()) -> None:
        self.made: list[Any] = []
        self._draw = draw
        self._again: Iterator[Any] = iter(made)

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        """Return the next value, drawn from *strategy* or repeated."""
        self.made.append(self._draw(strategy) if self._draw is not None else self._next())
        return self.made[-1]

    def fact(self, value: Any) -> Any:
        """Keep a value that is known only while drawing, as a choice."""
        self.made.append(value if self._draw is not None else self._next())
        return self.made[-1]

    def outcome(self, stub: Callable[[], Any]) -> Any:
        """Run a stub, and keep its outcome as a choice: replaying the plan needs no stub."""
        if self._draw is None:
            return _come_to(self._next())
        try:
            found = stub()
        except Hangs:
            self.made.append(["hangs"])
            raise
        except Exception as error:
            self.made.append(["raises", error])
            raise
        self.made.append(["takes", found.seconds, found.value] if isinstance(found, Takes) else ["returns", found])
        return found

    def _next(self) -> Any:
        try:
            return next(self._again)
        except StopIteration:
            raise ValueError(
                "the plan ends before the run does: the workflow, or the kit, has changed since it was drawn"
            ) from None


def _come_to(made: Any) -> Any:
    match made:
        case ["hangs"]:
            raise Hangs
        case ["raises", BaseException() as error]:
            raise error
        case ["takes", seconds, value]:
            return Takes(seconds, value)
        case ["returns", value]:
            return value
        case _:
            raise ValueError(
                f"the plan says {made!r} where it should say what a step comes to: the workflow has changed"
            )


def token(workflow: Workflow[Any, Any], made: Sequence[Any]) -> str | None:
    """Return the choices as one word, None if one of them cannot be encoded."""
    try:
        data = _codec([workflow]).encode([workflow.key, *made])
    except NotSerializable:
        return None
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")


def read_token(workflows: Sequence[Workflow[Any, Any]], text: str) -> list[Any]:
    """Return the choices of a token of the first of *workflows*.

    Raises:
        ValueError: The text is no token, or the plan belongs to another workflow.
    """
    key, *made = _decoded(_codec(workflows), text)
    if key != workflows[0].key:
        raise ValueError(f"the plan is of workflow {key!r}, not {workflows[0].key!r}")
    return made


def workflow_of(text: str) -> str:
    """Return the key of the workflow that a token belongs to.

    Raises:
        ValueError: The text is no token.
    """
    try:
        return str(json.loads(_unpacked(text))[0])
    except (ValueError, TypeError, zlib.error, IndexError) as error:
        raise _no_plan(text, error) from None


def _decoded(codec: TaggedJson, text: str) -> list[Any]:
    try:
        return list(codec.decode(_unpacked(text)))
    except (ValueError, TypeError, zlib.error, Undecodable) as error:
        raise _no_plan(text, error) from None


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def _no_plan(text: str, error: Exception) -> ValueError:
    return ValueError(
        f"{text[:40]!r} is not a plan that a failing scenario printed ({error}). Fix: copy it whole, or remove it"
    )


def target_of(workflow: Workflow[Any, Any]) -> str | None:
    """Return `module:name` of a workflow for the command line, None if it has no such name."""
    module = workflow.fn.__module__
    names = (name for name, value in vars(sys.modules.get(module, object)).items() if value is workflow)
    name = next(names, None)
    return None if name is None or module == "__main__" else f"{module}:{name}"


def _codec(workflows: Sequence[Workflow[Any, Any]]) -> TaggedJson:
    codec = TaggedJson()
    codec.trust(*top_level_packages(workflows))
    return codec
