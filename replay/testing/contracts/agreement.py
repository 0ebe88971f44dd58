"""Stores must agree, operation by operation: a state machine that puts the same requests to a reference and to another store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replay.backends.memory import MemoryStore
from replay.core import requests as r
from replay.ports import Clock, Store
from replay.testing.simulation.clock import VirtualClock

ALL_IDS = ("a", "b", "c~1", "c~2")
IDS = st.sampled_from(ALL_IDS)
SELDOM = st.sampled_from([False] * 7 + [True])
WORKFLOWS = st.sampled_from(["w", "v"])
QUEUES = st.sampled_from(["default", "mail"])
ROWS = st.lists(st.sampled_from([b"[1]", b'["x",{}]', b'["\\u00e9",[]]']), max_size=3).map(tuple)
PAYLOADS = st.sampled_from([b"null", b"[]", b"{}", b"9223372036854775808", b'"\xc3\xa9"'])
METADATA = st.sampled_from([b"{}", b'{"k":1}', b'{"k":2,"l":"x"}', b'{"l": "x", "k": 1}'])
KNOWN = st.sampled_from([(("w", ""), ("v", "")), (("w", ""),), (("v", ""),), (("v", ""), ("nobody", ""))])
SCHEDULES = ("s", "t", "u", "other", "another")
SCHEDULED = st.sampled_from(["w", "v", "gone"])
CURRENT = st.sampled_from([None, None, b'[{"kind":"step"}]', b"[7]"])
LEASE = 10.0
ALL = 100
"""Limit of a claim that takes all that is due."""


def store_agreement(
    make_store: Callable[[Clock], Store], reference: Callable[[Clock], Store] = MemoryStore, *, ordered: bool = True
) -> type[RuleBasedStateMachine]:
    """Return a state machine that fails where a store of *make_store* answers otherwise than *reference*.

    Apply it in a test module: `TestAgreement = store_agreement(lambda clock: MyStore(..., clock=clock)).TestCase`.

    Args:
        make_store: Opens a fresh, empty store with the clock it is given.
        reference: Opens the store to compare with.
        ordered: Claims are in order over the whole store. A store of several shards has an order within each: its claims are
            compared without limits.
    """

    class Agreement(RuleBasedStateMachine):
        """Both stores see the same clock and the same requests."""

        @initialize()
        def open(self) -> None:
            self.clock = VirtualClock()
            self.stores = [reference(self.clock), make_store(self.clock)]
            self.leases: dict[str, tuple[str, int]] = {}  # id -> token, log length as its holder knows it
            self.claims: list[tuple[float, r.Claim]] = []  # claims that took something, and when
            self.number = 0
            self.many = False

        def teardown(self) -> None:
            for store in getattr(self, "stores", ()):
                store.close()

        def ask(self, request: r.Request[Any]) -> Any:
            first, second = (store.apply([request])[0] for store in self.stores)
            assert comparable(first) == comparable(second), request
            return first

        def nonce(self) -> str:
            self.number += 1
            return f"n{self.number}"

        @rule(
            id=IDS,
            workflow=WORKFLOWS,
            queue=QUEUES,
            later=st.sampled_from([None, 5.0]),
            timeout=st.sampled_from([None, 50.0]),
            parent=st.none() | IDS,
            priority=st.integers(0, 2),
            retention=st.sampled_from([None, 20.0]),
            entries=ROWS,
            metadata=METADATA,
        )
        def create(
            self, id: str, workflow: str, queue: str, later: float | None, parent: str | None, **more: Any
        ) -> None:
            at = None if later is None else self.clock.now() + later
            self.ask(r.Create(id, workflow, b"null", queue=queue, at=at, parent_id=parent, **more))

        @rule(
            queues=st.sampled_from([("default",), ("default", "mail"), ("mail",)]),
            workflows=KNOWN,
            limit=st.sampled_from([1, 1, 2, ALL]),
            revive=st.booleans(),
        )
        def claim(
            self, queues: tuple[str, ...], workflows: tuple[tuple[str, str], ...], limit: int, revive: bool
        ) -> None:
            self.tick()
            if revive or not ordered or self.has_ties():
                limit = ALL
            self.claim_and_repeat(r.Claim(self.nonce(), "worker", queues, workflows, limit, LEASE, revive))

        def claim_and_repeat(self, request: r.Claim) -> None:
            reply = self.ask(request)
            for claimed in reply.claimed:
                self.leases[claimed.header.id] = (request.nonce, claimed.header.length)
            if reply.claimed:
                self.claims.append((self.clock.now(), request))
                assert comparable(self.ask(request).claimed) == comparable(reply.claimed)

        def has_ties(self) -> bool:
            """Tell whether executions have one due time: stores may take either first."""
            headers = self.stores[0].apply([r.Get(id) for id in ALL_IDS])
            dues = [h.due_at + shift for h in headers if h is not None and h.due_at is not None for shift in levels(h)]
            return len(dues) != len(set(dues))

        @rule(pick=st.integers(0, 9), release=st.booleans(), id=IDS)
        def repeat_a_claim_late(self, pick: int, release: bool, id: str) -> None:
            """Repeat a claim, after what it took was released or ended and more is due. A store may forget expired claims."""
            self.lease(id)
            self.claims = [each for each in self.claims if each[0] + LEASE > self.clock.now() + 0.01]
            if not self.claims:
                return
            _, request = self.claims[pick % len(self.claims)]
            for held, (token, length) in sorted(self.leases.items()):
                if token == request.nonce:
                    self.tick()
                    then = r.ReleaseLease() if release else r.End("completed", b"1")
                    self.ask(r.Commit(held, token, length, self.nonce(), then))
                    self.leases.pop(held)
                    break
            self.ask(r.Create(id, "w", b"null"))
            reply = self.ask(request)
            assert all(claimed.header.token == request.nonce for claimed in reply.claimed)

        def lease(self, id: str) -> None:
            """Hold at least one lease: without one, create *id* and claim all that is due."""
            if not self.leases:
                self.ask(r.Create(id, "w", b"null"))
                self.claim_all()

        def claim_all(self) -> None:
            self.tick()
            both, queues = (("w", ""), ("v", "")), ("default", "mail")
            self.claim_and_repeat(r.Claim(self.nonce(), "worker", queues, both, ALL, LEASE))

        @rule(times=st.integers(1, r.MAX_LOST + 1), progress=st.none() | st.integers(0, r.MAX_LOST))
        def lose_leases(self, times: int, progress: int | None) -> None:
            """Lose leases in a row, with a commit between two of them."""
            for number in range(times):
                self.clock.move_to(self.clock.now() + LEASE + 1.0)
                self.claim_all()
                if number == progress and self.leases:
                    self.commit_entries(0, (), 0, None)

        @rule(id=IDS, pick=st.integers(0, 3), entries=ROWS, seen=st.integers(0, 3), current=CURRENT)
        def keep(self, id: str, pick: int, entries: tuple[bytes, ...], seen: int, current: bytes | None) -> None:
            """Commit entries and the current commands alone: the hot request, for which stores have special statements."""
            self.lease(id)
            if self.leases:
                self.commit_entries(pick, entries, seen, current)

        def commit_entries(self, pick: int, entries: tuple[bytes, ...], seen: int, current: bytes | None) -> None:
            self.tick()
            id = sorted(self.leases)[pick % len(self.leases)]
            token, length = self.leases[id]
            keep = r.KeepLease(LEASE)
            request = r.Commit(id, token, length, self.nonce(), keep, entries, seen=seen, current=current)
            if isinstance(self.ask(request), r.Committed):
                self.leases[id] = (token, length + len(entries))
            else:
                self.leases.pop(id)

        @rule(
            spare=IDS,
            pick=st.integers(0, 3),
            entries=ROWS,
            seen=st.integers(0, 3),
            consumed=st.sampled_from([(), (1,), (1, 2)]),
            stale=SELDOM,
            again=SELDOM,
            then=st.sampled_from(["keep", "park", "wake", "yield", "end", "fail", "restart"]),
            attempt=st.sampled_from([None, None, 2, 3]),
            amendments=st.sampled_from([0, 0, 1]),
            current=CURRENT,
            child=st.none() | st.none() | IDS,
            cancel=st.none() | st.none() | IDS,
        )
        def commit(
            self,
            spare: str,
            pick: int,
            entries: tuple[bytes, ...],
            stale: bool,
            then: str,
            child: str | None,
            cancel: str | None,
            again: bool,
            **more: Any,
        ) -> None:
            self.lease(spare)
            if not self.leases:
                return
            self.tick()
            id = sorted(self.leases)[pick % len(self.leases)]
            token, length = self.leases[id]
            now = self.clock.now()
            what: dict[str, r.KeepLease | r.Suspend | r.ReleaseLease | r.End | r.Restart] = {
                "keep": r.KeepLease(LEASE),
                "park": r.Suspend("sleeping", None, LEASE),
                "wake": r.Suspend("retrying", now + 3, LEASE),
                "yield": r.ReleaseLease(),
                "end": r.End("completed", b"[]"),
                "fail": r.End("failed", None, b'"e"'),
                "restart": r.Restart(b"[2]", entries[:1]),
            }
            request = r.Commit(
                id,
                token,
                length + stale,
                self.nonce(),
                what[then],
                entries,
                **more,
                creates=(r.Create(child, "w", b"1", parent_id=id),) if child is not None else (),
                # Only a session that ends cancels (its children): what that leads to on other shards, it does not hear.
                cancels=(cancel,) if cancel is not None and child is None and then in ("end", "fail") else (),
            )
            reply = self.ask(request)
            refused = then in ("end", "fail", "restart") and isinstance(reply, r.Committed) and not reply.parked
            if isinstance(reply, r.Committed) and not refused:
                self.leases[id] = (token, len(entries[:1]) if then == "restart" else length + len(entries))
                if again:
                    repeated = self.ask(request)
                    assert (repeated.parked, repeated.messages) == (reply.parked, reply.messages)
            if refused:
                assert "cancel" in {message.kind for message in reply.messages}
            if (not isinstance(reply, r.Committed) or reply.parked) and not stale:
                self.leases.pop(id)  # seldom of use any more; a stale one remains

        @rule(id=IDS, number=st.integers(0, 2), kind=st.sampled_from(["signal", "signal", "cancel"]), payload=PAYLOADS)
        def deliver(self, id: str, number: int, kind: str, payload: bytes) -> None:
            self.tick()
            self.ask(r.Deliver(id, f"m{number}", kind, "go", payload))

        @rule(id=IDS, watcher=IDS)
        def watch(self, id: str, watcher: str) -> None:
            self.ask(r.Watch(id, watcher))

        @rule(seconds=st.sampled_from([0.5, 4.0, 11.0, 60.0, 700.0]))
        def wait(self, seconds: float) -> None:
            self.clock.move_to(self.clock.now() + seconds)

        @rule(foreign=SELDOM, seen=st.integers(0, 2))
        def beat(self, foreign: bool, seen: int) -> None:
            self.tick()
            suffix = "x" if foreign else ""
            held = tuple(r.LeaseRef(id, token + suffix, seen) for id, (token, _) in sorted(self.leases.items()))
            self.ask(r.RenewLeases(held, LEASE))

        @rule(
            id=IDS,
            statuses=st.sampled_from([("failed",), ("sleeping", "running"), ("completed", "failed")]),
            ends=st.booleans(),
        )
        def amend(self, id: str, statuses: tuple[str, ...], ends: bool) -> None:
            header = self.ask(r.Get(id))
            length = header.length if header is not None else 0
            then = r.End("failed", None, b'"forced"') if ends else None
            self.ask(r.Amend(id, self.nonce(), statuses, length, (b"[9]",), then, 2, 1))

        @rule(id=IDS, ends=st.booleans(), seconds=st.sampled_from([0.0, 21.0]))
        def amend_what_ended_and_purge(self, id: str, ends: bool, seconds: float) -> None:
            """Amend an execution that waits for its purge: it lives again, or its retention begins anew."""
            self.tick()
            header = self.ask(r.Get(id))
            if header is not None and header.ended_at is not None:
                then = r.End("completed", b"1") if ends else None
                self.ask(r.Amend(id, self.nonce(), (header.status,), header.length, (), then))
                self.clock.move_to(self.clock.now() + seconds)
                self.ask(r.Purge())

        @rule(id=IDS)
        def delete(self, id: str) -> None:
            self.ask(r.Delete(id))

        @rule(keep=st.none() | st.integers(0, 3))
        def purge(self, keep: int | None) -> None:
            self.ask(r.Purge(keep=keep))

        @rule(
            id=st.sampled_from(SCHEDULES),
            expected=st.integers(0, 2),
            workflow=SCHEDULED,
            paused=st.booleans(),
            soon=st.sampled_from([None, -1.0, 5.0]),
            create=st.none() | IDS,
            drop=st.booleans(),
        )
        def schedule(
            self,
            id: str,
            expected: int,
            workflow: str,
            paused: bool,
            soon: float | None,
            create: str | None,
            drop: bool,
        ) -> None:
            self.tick()
            if drop:
                self.ask(r.DropSchedule(id, expected))
                return
            next_at = None if soon is None else self.clock.now() + soon
            row = r.Schedule(id, workflow, b"{}", b"[]", next_at, paused)
            self.ask(r.PutSchedule(row, expected, (r.Create(create, "w", b"1"),) if create is not None else ()))
            self.ask(r.ListSchedules())

        @rule(workflow=st.sampled_from(["gone", "gone", "v"]), first=st.sampled_from([-200.0, 1.0]))
        @precondition(lambda self: not self.many)
        def schedule_many(self, workflow: str, first: float) -> None:
            """Make more schedules than a claim hands out, or a store looks at at once."""
            self.many = True
            begin = self.clock.now() + first
            rows = [r.Schedule(f"many-{n}", workflow, b"{}", b"[]", begin + n) for n in range(70)]
            one, other = (store.apply([r.PutSchedule(row, 0) for row in rows]) for store in self.stores)
            assert one == other

        @rule(
            statuses=st.sampled_from([(), ("pending",), ("completed", "failed")]),
            workflow=st.none() | WORKFLOWS,
            parent_id=st.none() | IDS,
            id_prefix=st.sampled_from([None, None, "c~", "x", "nobody"]),
            since=IDS,
            times=st.dictionaries(
                st.sampled_from(["created_after", "created_before", "updated_after", "updated_before", "due_before"]),
                st.sampled_from([-10.0, -0.15, -0.0035, -0.0005, 0.0, 0.0005, 10.0]),
                max_size=2,
            ),
            metadata=st.sampled_from([(), (), (("k", b"1"),), (("l", b'"x"'), ("k", b"1"))]),
            limit=st.integers(1, 3),
        )
        def find(self, limit: int, since: str, times: dict[str, float], **filters: Any) -> None:
            cursor = None
            (header,) = self.stores[0].apply([r.Get(since)])
            instant = self.clock.now() if header is None else header.updated_at
            filters |= {name: instant + later for name, later in times.items()}
            for _ in range(6):
                found = self.ask(r.Find(limit=limit, cursor=cursor, **filters))
                cursor = found.cursor
                if cursor is None:
                    return

        @invariant()
        def same_state(self) -> None:
            if not hasattr(self, "stores"):
                return
            state = [r.Count(), *(each for id in ALL_IDS for each in (r.Get(id), r.Load(id), r.Inbox(id)))]
            first, second = ([comparable(reply) for reply in store.apply(state)] for store in self.stores)
            assert first == second

        def tick(self) -> None:
            # Two executions made at one instant have no order of their own; stores may give them any.
            self.clock.move_to(self.clock.now() + 0.001)

    return Agreement


def levels(header: r.Header) -> tuple[float, ...]:
    """Return what to add to a due time to compare it before and after it is put where the priority belongs."""
    return (0.0,) if header.priority == 0 else (0.0, header.priority * r.PRIORITY_STEP)


def comparable(reply: Any) -> Any:
    """Return what must be equal: refusals by class, hints and claims as sets, cursors only by whether there is one."""
    if isinstance(reply, Exception):
        return type(reply)
    if isinstance(reply, r.Found):
        return reply.headers, reply.cursor is None
    if isinstance(reply, r.Claims):  # what became due at one instant has no order
        return msgspec.structs.replace(
            reply,
            outbox=(),
            claimed=tuple(sorted(reply.claimed, key=lambda each: each.header.id)),
            schedules=tuple(sorted(reply.schedules, key=lambda each: each.id)),
        )
    if hasattr(reply, "woken"):
        return msgspec.structs.replace(reply, woken=frozenset(reply.woken))
    return reply
