"""When a worker claims executions, how many from which queues, and when to look again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from replay.core import requests as r
from replay.worker.options import WorkerOptions

PASS_EVERY = 0.05
"""Seconds between words to other workers that there is more to do than this one can take."""

SOONEST = 0.001
"""Seconds before the next claim, if one gave less than it might have."""


class Claiming:
    """Makes claims and learns from what they give.

    Args:
        options: The worker's.
        workflows: Keys and versions that it can run.
        entropy: Of nonces.

    Attributes:
        hinted: There may be work that no claim has looked for.
        looked: The last claim found nothing.
    """

    def __init__(self, options: WorkerOptions, workflows: Iterable[tuple[str, str]], entropy: random.Random) -> None:
        self.hinted = True
        self.looked = False
        self._options = options
        self._workflows = tuple(workflows)
        self._entropy = entropy
        self._unanswered = 0
        self._found = 0  # executions that the claims of this round gave
        self._revive = True
        self._next = 0.0
        self._next_pass = 0.0
        self._first_lane = 0

    def due(self, now: float) -> bool:
        """Tell whether it is time to claim."""
        return (self.hinted or now >= self._next) and not self._unanswered and bool(self._workflows)

    def wake_at(self, now: float) -> float:
        """Return when it is."""
        return now if self.hinted else self._next

    def no_later_than(self, instant: float) -> None:
        """Claim at *instant* at the latest."""
        self._next = min(self._next, instant)

    def claims(self, now: float, free: int, active: Callable[[str], int]) -> Iterator[r.Claim]:
        """Yield claims for *free* executions in all; *active* tells how many of a queue are under way."""
        self.hinted = False
        self._found, self._next = 0, now + self._options.poll_interval
        for queues, limit in self._lanes(free, active):
            nonce = f"{self._entropy.getrandbits(96):024x}"
            self._unanswered += 1
            yield r.Claim(nonce, self._options.name, queues, self._workflows, limit, self._options.lease, self._revive)
        self._revive = self._revive and not self._unanswered

    def _lanes(self, free: int, active: Callable[[str], int]) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield how many to claim from which queues: those with a limit of their own each by itself."""
        limits, queues_of_all = self._options.queue_limits, self._options.queues
        lanes = [(tuple(queue for queue in queues_of_all if queue not in limits), free)]
        lanes += [((queue,), limits[queue] - active(queue)) for queue in queues_of_all if queue in limits]
        lanes = [(queues, room) for queues, room in lanes if queues and room > 0]
        self._first_lane += 1  # so that a share of one slot goes round
        for i in range(len(lanes)):
            queues, room = lanes[(self._first_lane + i) % len(lanes)]
            share = min(room, -(-free // (len(lanes) - i)))
            free -= share
            if share:
                yield queues, share

    def learn(self, request: r.Claim, reply: r.Claims) -> bool:
        """Learn from an answer; return whether more is due at once."""
        self._unanswered -= 1
        self._found += len(reply.claimed)
        self.looked = not self._unanswered and not self._found
        later = reply.now + self._options.poll_interval
        again = min(later, reply.next_due) if reply.next_due is not None else later
        if len(reply.claimed) < request.limit:
            again = max(again, reply.now + SOONEST)
        self.no_later_than(again)
        return again <= reply.now

    def may_pass_on(self, now: float) -> bool:
        """Tell whether it is time again to tell others that there is more to do: few hints stand for many executions."""
        if now < self._next_pass:
            return False
        self._next_pass = now + PASS_EVERY
        return True
