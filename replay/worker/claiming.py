"""Claims of a worker: when to make the next one, from which queues, and for how many executions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from replay.core import requests as r
from replay.worker.options import WorkerOptions

FORWARD_INTERVAL = 0.05
"""Seconds between hints that a full worker forwards: one hint stands for many executions."""

SHORTEST_PAUSE = 0.001
"""Seconds before the next claim after one that gave less than its limit."""


class Claiming:
    """Makes claims, and times the next one by their replies.

    Args:
        options: The worker's options.
        workflows: Keys and versions of the workflows that it runs.
        entropy: Random source of nonces.

    Attributes:
        has_hint: A hint arrived after the last claim was sent.
        last_claim_empty: The last round of claims found nothing.
    """

    def __init__(self, options: WorkerOptions, workflows: Iterable[tuple[str, str]], entropy: random.Random) -> None:
        self.has_hint = True
        self.last_claim_empty = False
        self._options = options
        self._workflows = tuple(workflows)
        self._entropy = entropy
        self._unanswered = 0
        self._claimed = 0  # executions in the replies of this round
        self._revive = True
        self._next = 0.0
        self._next_forward = 0.0
        self._first_lane = 0

    def due(self, now: float) -> bool:
        """Tell whether a claim is due."""
        return (self.has_hint or now >= self._next) and not self._unanswered and bool(self._workflows)

    def wake_at(self, now: float) -> float:
        """Return when the next claim is due."""
        return now if self.has_hint else self._next

    def no_later_than(self, instant: float) -> None:
        """Make the next claim due at *instant* at the latest."""
        self._next = min(self._next, instant)

    def claims(self, now: float, free: int, active: Callable[[str], int]) -> Iterator[r.Claim]:
        """Yield claims for *free* executions in all; *active* counts a queue's executions in progress."""
        self.has_hint = False
        self._claimed, self._next = 0, now + self._options.poll_interval
        for queues, limit in self._lanes(free, active):
            nonce = f"{self._entropy.getrandbits(96):024x}"
            self._unanswered += 1
            yield r.Claim(nonce, self._options.name, queues, self._workflows, limit, self._options.lease, self._revive)
        self._revive = self._revive and not self._unanswered

    def _lanes(self, free: int, active: Callable[[str], int]) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield queues with the number to claim from them; each queue with its own limit is a lane by itself."""
        limits, queues_of_all = self._options.queue_limits, self._options.queues
        lanes = [(tuple(queue for queue in queues_of_all if queue not in limits), free)]
        lanes += [((queue,), limits[queue] - active(queue)) for queue in queues_of_all if queue in limits]
        lanes = [(queues, room) for queues, room in lanes if queues and room > 0]
        self._first_lane += 1  # lanes take turns, even when only one slot is free
        for i in range(len(lanes)):
            queues, room = lanes[(self._first_lane + i) % len(lanes)]
            share = min(room, -(-free // (len(lanes) - i)))
            free -= share
            if share:
                yield queues, share

    def on_reply(self, request: r.Claim, reply: r.Claims) -> bool:
        """Time the next claim by a reply; return whether it is due at once."""
        self._unanswered -= 1
        self._claimed += len(reply.claimed)
        self.last_claim_empty = not self._unanswered and not self._claimed
        later = reply.now + self._options.poll_interval
        next_claim = min(later, reply.next_due) if reply.next_due is not None else later
        if len(reply.claimed) < request.limit:
            next_claim = max(next_claim, reply.now + SHORTEST_PAUSE)
        self.no_later_than(next_claim)
        return next_claim <= reply.now

    def may_forward_hint(self, now: float) -> bool:
        """Tell whether a hint may be forwarded to other workers now, and count it as forwarded."""
        if now < self._next_forward:
            return False
        self._next_forward = now + FORWARD_INTERVAL
        return True
