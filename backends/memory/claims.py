"""Claims that the memory store remembers, so that a repeated one gives the same leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from replay.backends.memory.execution import Execution


class Claims:
    """Claims by nonce, until their leases have run out.

    Args:
        executions: All executions by id, as the store keeps them.
    """

    def __init__(self, executions: Mapping[str, Execution]) -> None:
        self._executions = executions
        self._claims: dict[str, tuple[float, list[str]]] = {}  # nonce -> end of the leases, ids

    def __contains__(self, nonce: object) -> bool:
        return nonce in self._claims

    def add(self, nonce: str, until: float, claimed: Sequence[Execution]) -> None:
        """Remember that a claim took *claimed*, with leases that end at the instant *until*."""
        self._claims[nonce] = (until, [x.id for x in claimed])

    def held(self, nonce: str) -> list[Execution]:
        """Return the executions of a claim that are still leased to it."""
        held = (self._executions.get(id) for id in self._claims[nonce][1])
        return [x for x in held if x is not None and x.token == nonce]

    def forget(self, now: float) -> None:
        """Forget claims whose leases have run out, oldest first; one whose leases were renewed goes to the end."""
        while self._claims:
            nonce = next(iter(self._claims))
            until, ids = self._claims[nonce]
            if until > now:
                return
            held = self.held(nonce)
            del self._claims[nonce]
            if held:
                renewed = max(x.due_at or 0.0 for x in held)
                self._claims[nonce] = (max(renewed, now + 1.0), ids)
