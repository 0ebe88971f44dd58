"""Correct workflows pass: many scenarios each, and every exhaustive check."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.backends.redis import open_store
from replay.backends.sqlite import SqliteStore
from replay.testing import Run, assert_recovers, assert_replay_equivalent, scenarios, try_seeds
from tests.budgets import examples
from tests.sim.corpus import CORPUS, Go, mailbox, parent, saga, small

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(3600)]

SIGNALS = {"approval": [(Go, 4)], "mailbox": [(Go, 1), (Go, 2)], "cleanup_after_cancel": [(Go, 1)]}


def options_of(workflow: Any) -> dict[str, Any]:
    return {"others": [] if workflow is small else [small]}


def input_of(workflow: Any) -> Any:
    return 2 if workflow is small else None


@pytest.mark.parametrize("workflow", CORPUS, ids=lambda w: w.key)
def test_scenarios_pass(workflow: Any) -> None:
    inputs = st.integers(0, 3) if workflow is small else None

    @settings(max_examples=examples(500), suppress_health_check=[*HealthCheck])
    @given(scenarios(workflow, inputs, **options_of(workflow)))
    def passes(run: Run) -> None:
        assert run.status != "stuck"

    passes()


@pytest.mark.parametrize("workflow", CORPUS, ids=lambda w: w.key)
def test_every_crash_every_replay_and_faulty_clusters(workflow: Any) -> None:
    options = {"signals": SIGNALS.get(workflow.key, ()), **options_of(workflow)}
    input = input_of(workflow)
    # At most once means that a crash may leave the step undone: then the result differs, and rightly so.
    assert_recovers(workflow, input, same=workflow.key != "charged_once", **options)
    assert assert_replay_equivalent(workflow, input, **options) > 3
    # A worker that crashes again and again costs ten minutes a time: more than a deadline of an hour may allow.
    same = workflow.key not in ("charged_once", "hurried")
    for run in try_seeds(workflow, input, seeds=range(examples(40)), same=same, **options):
        assert run.problem is None, f"seed {run.seed}: {run.problem}\n{run.timeline}"


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_the_same_faulty_seeds_pass_on_a_real_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    opened: list[Any] = []

    def store(clock: Any) -> Any:
        if kind == "sqlite":
            opened.append(SqliteStore(tmp_path / f"{len(opened)}.db", clock=clock, synchronous="NORMAL"))
        else:
            url = request.getfixturevalue("redis_server").url
            opened.append(open_store(url, namespace=uuid.uuid4().hex, clock=clock))
        return opened[-1]

    for workflow in (parent, saga, mailbox):
        options = {"signals": SIGNALS.get(workflow.key, ()), **options_of(workflow)}
        for run in try_seeds(workflow, seeds=range(examples(15)), store=store, **options):
            assert run.problem is None, f"{workflow.key}, seed {run.seed}: {run.problem}\n{run.timeline}"

    @settings(max_examples=examples(15), suppress_health_check=[*HealthCheck])
    @given(scenarios(mailbox, store=store))
    def passes(run: Run) -> None:
        assert run.status != "stuck"

    passes()
    for each in opened:
        each.close()
