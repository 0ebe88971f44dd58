"""Effects of step bodies on the world: what a `Ledger` was told, and what a body changed that outlives it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from replay.core.effects import Call
from replay.testing.simulation.reached_state import Reached, reached_state
from replay.worker.steps import running_step


@attrs.frozen
class Effect:
    """One effect in a `Ledger`.

    Attributes:
        name: Its name, such as `charge`.
        key: The object that it concerns.
        step: Id of the step, empty outside of steps.
        token: Idempotency key that the body gave, else the step's execution and id.
    """

    name: str
    key: Any
    step: str
    token: str


class Ledger:
    """The world of a test: step bodies record in it what they do and undo.

        ledger = Ledger()

        def charge(order):
            ledger.did("charge", order)

        def refund(order):
            ledger.undid("charge", order)

        assert_recovers(pay, order, effects=ledger)

    Each run begins with an empty ledger.

    Attributes:
        effects: Effects that were done and not undone, in order.
        problems: Effects that were done twice, one line each.
    """

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.problems: list[str] = []
        self._undoable: set[str] = set()

    def did(self, name: str, key: Any = None, *, token: str | None = None) -> bool:
        """Record an effect.

        Args:
            name: Its name.
            key: The object that it concerns.
            token: Idempotency key for the world, such as `current_step().token`. A second effect of the same key has no effect.

        Returns:
            Whether it happened: False if the world knew the token.
        """
        step = running_step()
        made = Effect(name, key, step.id if step else "", token or (f"{step.execution_id}/{step.id}" if step else ""))
        if made in self.effects:
            if token is not None:
                return False
            if made.token:
                self.problems.append(f"{_spoken(made)} was done twice")
        self.effects.append(made)
        return True

    def undid(self, name: str, key: Any = None) -> bool:
        """Record that an effect was undone. Returns False if there was none: undoing nothing is harmless."""
        self._undoable.add(name)
        found = next((each for each in reversed(self.effects) if (each.name, each.key) == (name, key)), None)
        if found is not None:
            self.effects.remove(found)
        return found is not None

    def count(self, name: str, key: Any = None) -> int:
        """Return the number of effects of this name and, unless None, key that were not undone."""
        return sum(each.name == name and key in (None, each.key) for each in self.effects)

    def undoable(self) -> list[Effect]:
        """Return the effects that some body of this test can undo."""
        return [each for each in self.effects if each.name in self._undoable]

    def clear(self) -> None:
        """Forget all effects. Their names stay known as undoable."""
        self.effects.clear()
        self.problems.clear()


def _spoken(effect: Effect) -> str:
    key = "" if effect.key is None else f"({effect.key!r})"
    return f"{effect.name}{key}{f' by step {effect.step!r}' if effect.step else ''}"


TWICE = (
    "Fix: pass current_step().token to the other system as its idempotency key, or make the step .at_most_once(). "
    "For a change that may repeat, such as a counter of the test: effects=False"
)


class EffectWatch:
    """Watches the real bodies of a simulation: an effect must not happen twice for one token.

    A body has an effect if it changes state that outlives it: globals, closures, its object. A body that reads
    `current_step().token` is trusted to pass it on.

    Attributes:
        ledger: The ledger of the run, None without one.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger
        self._problems: list[str] = []
        self._changed: dict[str, tuple[str, ...]] = {}
        self._trusted: set[str] = set()

    @property
    def problems(self) -> list[str]:
        """Violations so far."""
        found = [f"{problem}.\n  {TWICE}" for problem in self.ledger.problems] if self.ledger is not None else []
        return self._problems + found

    def around(self, call: Call, body: Callable[..., Any]) -> Callable[..., Any]:
        """Return *body*, watched."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            state = reached_state(body)
            value = body(*args, **kwargs)
            if inspect.iscoroutine(value):
                return self._after_coroutine(call, body, state, value)
            self._after(call, body, state)
            return value

        return watched

    async def _after_coroutine(self, call: Call, body: Callable[..., Any], state: Reached, coroutine: Any) -> Any:
        value = await coroutine
        self._after(call, body, state)
        return value

    def _after(self, call: Call, body: Callable[..., Any], state: Reached) -> None:
        if call.token_read:
            self._trusted.add(call.token)
        changed = state.changes()
        if not changed or call.token in self._trusted:
            return
        if call.token in self._changed:
            self._problems.append(
                f"step {call.id!r} was done twice: its body{_place(body)} ran again after its effect (it changes "
                f"{', '.join(changed)}), and does not read current_step().token.\n  {TWICE}"
            )
        self._changed[call.token] = changed

    def at_the_end(self, status: str, *, rolled_back: bool) -> Iterator[str]:
        """Yield each effect of the ledger that an execution left behind, although it did not complete or rolled back."""
        if self.ledger is None or (status == "completed" and not rolled_back):
            return
        if status in ("failed", "cancelled", "completed"):
            for effect in self.ledger.undoable():
                yield (
                    f"{_spoken(effect)} was done and not undone, and the execution ended {status}.\n  Fix: undo it with .down(...) "
                    f"and ctx.rollback(), also when the step fails after its effect and when the execution is cancelled"
                )


def _place(body: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(body), "__code__", None)
    return f" ({code.co_filename.rpartition('/')[2]}:{code.co_firstlineno})" if code is not None else ""
