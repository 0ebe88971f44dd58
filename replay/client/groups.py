"""Many starts, signals or cancels at once: each group is one call of the store, so one group commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from replay.client.handles import Handle, id_of
from replay.client.messaging import Messaging
from replay.client.starting import Starting
from replay.core import requests as r
from replay.core.errors import ReplayError
from replay.definition import Signal, Workflow

if TYPE_CHECKING:
    from replay.client.port import ClientPort

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")

GROUP = 200
"""Requests of one call of the store: enough to share a commit's cost, few enough that others wait for milliseconds."""

EACH_HINT = 16
"""Executions for which one hint is sent: a claim of a worker with default options takes as many."""


class Groups(Starting, Messaging):
    """Methods that act on many executions."""

    def start_many(
        self,
        workflow: Workflow[In, Out] | str,
        inputs: Iterable[In],
        *,
        idempotency_keys: Iterable[str] | None = None,
        timeout: Any = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int | None = None,
    ) -> list[Handle[Out]]:
        """Start an execution for each of *inputs*, with one commit for each 200. All are durable when this returns.

        Args:
            inputs: The inputs. All are checked and encoded before the first execution starts.
            idempotency_keys: One key for each input, see `start`. With keys a repeated call starts nothing twice.
            timeout, metadata, priority: As in `start`, for all of them.

        Returns:
            The handles, in the order of *inputs*.

        Raises:
            NotSerializable, PayloadTooLarge, ValueError, TypeError: An input or an option is wrong. Nothing was started.
            StoreUnavailable: The store cannot be reached. Some of the executions may have started.
        """
        options = {"timeout": timeout, "metadata": metadata, "priority": priority}
        values = list(inputs)
        keys: list[Any] = [None] * len(values) if idempotency_keys is None else list(idempotency_keys)
        if len(keys) != len(values):
            raise ValueError(
                f"start_many: {len(values)} inputs and {len(keys)} idempotency_keys. Fix: pass one key for each input"
            )
        creates = [
            self.make_create(workflow, value, idempotency_key=key, **options)
            for value, key in zip(values, keys, strict=True)
        ]
        for group in _groups(creates):
            replies = self.store.apply(group)
            for create, reply in zip(group, replies, strict=True):
                self.check_created(create, reply)
            self._hint(create.queue for create, reply in zip(group, replies, strict=True) if reply.fresh)
        return [Handle(cast("ClientPort", self), create.id) for create in creates]

    def signal_many(
        self,
        executions: Iterable[str] | Iterable[Handle[Any]],
        signal: Signal[T] | str,
        payload: T | None = None,
        *,
        dedupe_id: str | None = None,
    ) -> dict[str, ReplayError]:
        """Send the same signal to many executions, with one commit for each 200. It is stored when this returns.

        Args:
            executions: Ids or handles.
            signal, payload, dedupe_id: As in `signal`. A *dedupe_id* is each execution's own.

        Returns:
            The executions that did not take it, by id, each with the refusal (`UnknownExecution`, `ExecutionEnded`,
            `SignalRefused`). The others have it.

        Raises:
            NotSerializable, PayloadTooLarge, SignalRefused, ValueError, TypeError: The signal is wrong. Nobody has it.
            StoreUnavailable: The store cannot be reached. Some may have it; with a *dedupe_id* a second call is safe.
        """
        requests = [
            self.make_signal(id, signal, payload, dedupe_id=dedupe_id) for id in dict.fromkeys(map(id_of, executions))
        ]
        refused: dict[str, ReplayError] = {}
        for group in _groups(requests):
            wrong = self._unfit_signals(group, payload)
            refused |= wrong
            refused |= self._deliver_group([each for each in group if each.id not in wrong])
        return refused

    def cancel_many(
        self, executions: Iterable[str] | Iterable[Handle[Any]], reason: str | None = None
    ) -> dict[str, ReplayError]:
        """Ask many executions to stop, with one commit for each 200. See `cancel`.

        Returns:
            The executions that cannot be cancelled, by id, each with the refusal (`UnknownExecution`, `ExecutionEnded`).

        Raises:
            NotSerializable, PayloadTooLarge: The reason cannot be stored. Nothing was cancelled.
            StoreUnavailable: The store cannot be reached. Some may have been cancelled; a second call is safe.
        """
        requests = [self.make_cancel(id, reason) for id in dict.fromkeys(map(id_of, executions))]
        refused: dict[str, ReplayError] = {}
        for group in _groups(requests):
            refused |= self._deliver_group(group)
            for request in group:
                self.announce_end(request.id)
        return refused

    def _unfit_signals(self, requests: Sequence[r.Deliver], payload: Any) -> dict[str, ReplayError]:
        """Return the executions whose workflow is known here and refuses the signal, with the refusals."""
        if not self.lists_signals:
            return {}
        refused: dict[str, ReplayError] = {}
        headers = self.store.apply([r.Get(request.id) for request in requests])
        for request, header in zip(requests, headers, strict=True):
            try:
                if isinstance(header, r.Header):
                    self.check_signal(header, request.name, payload)
            except ReplayError as refusal:
                refused[request.id] = refusal
        return refused

    def _deliver_group(self, requests: Sequence[r.Deliver]) -> dict[str, ReplayError]:
        refused: dict[str, ReplayError] = {}
        woken: list[str] = []
        for request, reply in zip(requests, self.store.apply(requests) if requests else (), strict=True):
            if isinstance(reply, ReplayError):
                refused[request.id] = reply
            elif reply.woken:
                woken += reply.woken
            else:
                self.announce_news(request.id)
        self._hint(woken)
        return refused

    def _hint(self, queues: Iterable[str]) -> None:
        """Wake workers of the queues of executions that became due: one for each sixteen of a queue."""
        for queue, count in Counter(queues).items():
            for _ in range(-(-count // EACH_HINT)):
                self.announce(queue)


def _groups(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while group := list(islice(rest, GROUP)):
        yield group
