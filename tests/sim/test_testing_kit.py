"""The rest of the kit: one's own machine, golden histories, seeds on the command line, fixtures, and traces that repeat."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from replay import Context, Engine, workflow
from replay.cli.root import cli
from replay.client.histories import History
from replay.testing import Simulation, WorkflowMachine, assert_recovers, assert_replays, histories
from tests.budgets import examples
from tests.sim import corpus
from tests.sim.corpus import Go, approval, mailbox, small

pytestmark = pytest.mark.slow

CHARGES: list[str] = []


def charge(order: str) -> str:
    return order


@workflow(signals=[Go])
def order(ctx: Context, id: str) -> Iterator[Any]:
    yield ctx.step("charge", charge, id)
    yield ctx.wait_for_signal(Go, timeout=3600)


class Orders(WorkflowMachine):
    workflows = (order,)

    @rule(id=st.sampled_from(["o-1", "o-2"]))
    def place(self, id: str) -> None:
        self.start(order, id, idempotency_key=id)

    @invariant()
    def each_order_is_one_execution(self) -> None:
        if hasattr(self, "sim"):
            assert len(self.sim.engine.find_executions()) == len({h.id for h in self.handles})


class Wrong(Orders):
    """Believes that no order is ever charged."""

    @invariant()
    def nobody_is_charged(self) -> None:
        assert not hasattr(self, "sim") or not self.sim.executed


SETTINGS = settings(max_examples=examples(30), stateful_step_count=15)


def test_a_machine_of_ones_own_holds() -> None:
    run_state_machine_as_test(Orders, settings=SETTINGS)


def test_a_machine_of_ones_own_can_fail_and_tells_the_timeline() -> None:
    with pytest.raises(AssertionError) as found:
        run_state_machine_as_test(Wrong, settings=settings(SETTINGS, max_examples=100, derandomize=True, database=None))
    assert "runs charge" in "".join(getattr(found.value, "__notes__", []))


@settings(max_examples=examples(30))
@given(histories(approval))
def test_drawn_histories_can_be_written_and_read(history: History) -> None:
    again = History.parse(history.text(), "here")
    assert again.recorded.rows == history.recorded.rows


class Greedy(WorkflowMachine):
    """Lets a cluster be only in its last moments, after its last invariant was checked."""

    workflows = (order,)

    @rule()
    def place(self) -> None:
        self.start(order, "o-1")
        self.sim.problems.append("planted")
        self.no_recorded_step_ran_twice = lambda: None  # type: ignore[method-assign]


def test_a_machine_judges_what_happens_after_its_last_rule() -> None:
    with pytest.raises(AssertionError, match="planted"):
        run_state_machine_as_test(Greedy, settings=SETTINGS)


def exported(folder: Path) -> Path:
    with Simulation([approval]) as sim:
        handle = sim.start(approval)
        sim.settle(handle, [(Go, 4)])
        path = folder / "approval.json"
        path.write_text(History.of(sim.engine, handle.id).text())
    return path


def test_golden_histories_are_replayed_against_todays_code(tmp_path: Path) -> None:
    path = exported(tmp_path)
    assert assert_replays(approval, tmp_path) == 1
    with pytest.raises(AssertionError, match="no history of workflow 'mailbox'"):
        assert_replays(mailbox, path)


def test_a_golden_history_that_does_not_fit_is_told_with_both_sides(tmp_path: Path) -> None:
    exported(tmp_path)

    @workflow("approval", signals=[Go])
    def changed(ctx: Context) -> Iterator[Any]:
        yield ctx.step("new", charge, "x")

    with pytest.raises(AssertionError, match=r"approval\.json.*does not fit") as found:
        assert_replays(changed, tmp_path)
    said = str(found.value)
    assert "Began" in said, "the entries before it are missing"
    assert "StepDone ship" in said, "the entries after it are missing"
    assert 'yield ctx.step("new", charge, "x")' in said, "the code's lines are missing"


def test_seeds_run_on_the_command_line() -> None:
    passing = CliRunner().invoke(cli, ["simulate", "tests.sim.corpus:approval", "--signal", "go=4", "--seeds", "20"])
    assert passing.exit_code == 0, passing.output
    assert "20 seeds" in passing.output
    one = CliRunner().invoke(cli, ["simulate", "tests.sim.corpus:approval", "--signal", "go=4", "--seed", "3"])
    assert "runs ship" in one.output


def test_a_seed_that_fails_is_told_with_its_reproducer() -> None:
    # Its deadline of an hour does not allow for workers that crash again and again.
    arguments = ["simulate", "tests.sim.corpus:hurried", "--stub", 'begin="a b"', "--seeds", "50"]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.return_value == 4, result.output
    line = next(line for line in result.output.splitlines() if line.startswith("Reproduce: "))
    again = CliRunner().invoke(cli, shlex.split(line)[2:], standalone_mode=False)
    assert again.return_value == 4, "the line that is to reproduce it does not"
    assert line in again.output.splitlines()
    assert CliRunner().invoke(cli, [*arguments, "--any-result"], standalone_mode=False).return_value == 0


def test_a_workflow_that_fails_without_faults_does_not_pass_by_failing_with_them_just_as_well() -> None:
    for target, said in (("global_counter", "not replay-safe"), ("forgotten_yield", "ForgottenYield")):
        result = CliRunner().invoke(cli, ["simulate", f"tests.sim.broken_workflows:{target}"], standalone_mode=False)
        assert result.return_value == 4, result.output
        assert "without any fault" in result.output
        assert said in result.output


def test_the_failing_crash_point_is_told_in_the_workflows_words() -> None:
    shared: list[int] = []

    @workflow
    def counting(ctx: Context) -> Iterator[Any]:
        yield ctx.step("reset", shared.clear)
        return (yield ctx.step("second", lambda: shared.append(1) or len(shared)))

    with pytest.raises(
        AssertionError, match=rf"'counting' does not recover.*'(reset|second)'.*{Path(__file__).name}:\d+"
    ):
        assert_recovers(counting)


TRACE = """
import sys
from replay.testing import Simulation
from tests.sim.corpus import parent, small, sub_flows
for seed in range(12):
    with Simulation([parent, small, sub_flows], seed=seed, workers=3, faults=True) as sim:
        handles = [sim.start(parent), sim.start(sub_flows)]
        for handle in handles:
            sim.settle(handle)
        print(sim.timeline())
"""


def test_the_same_seed_gives_the_same_trace_in_processes_that_hash_differently() -> None:
    def trace(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", TRACE], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    first = trace("1")
    assert first == trace("1")
    assert first == trace("2")
    for situation in ("crash before", "crash after", "unavailable before", "unavailable after", "pauses until"):
        assert situation in first, f"twelve seeds and never: {situation}"


def test_the_fixtures_run_a_test_once_for_each_seed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from replay import workflow

        @workflow
        def w(ctx):
            yield ctx.sleep(5)
            return 7

        def test_sim(replay_sim, replay_seed):
            sim = replay_sim([w])
            assert sim.seed == replay_seed
            handle = sim.start(w)
            sim.advance(seconds=6)
            assert handle.result() == 7

        def test_engine(replay_engine):
            @workflow
            def quick(ctx):
                return 1
                yield
            assert replay_engine([quick]).start(quick).result(300) == 1
        """
    )
    pytester.runpytest_subprocess("--rw-seeds", "3", "-p", "no:cacheprovider").assert_outcomes(passed=4)
    pytester.runpytest_subprocess("--rw-seed", "41", "-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_a_test_that_fails_tells_its_timeline_and_its_seed(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(
        """
        from replay import workflow

        @workflow
        def w(ctx):
            yield ctx.sleep(5)

        def test_sim(replay_sim):
            handle = replay_sim([w]).start(w, id="x-1")
            assert handle.status() == "completed"
        """
    )
    failed = pytester.runpytest_inprocess("--rw-seed", "41", "-p", "no:cacheprovider")
    failed.stdout.fnmatch_lines(["*user starts x-1 (w)*", f"*pytest {path.name}::test_sim --rw-seed 41*"])
    refused = pytester.runpytest_inprocess("--rw-seeds", "0", "-p", "no:cacheprovider")
    refused.stderr.fnmatch_lines(["*'0' is not a number of seeds from 1*"])


def test_a_history_is_exported_to_a_file_of_its_own_name_if_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with Engine(url, workflows=[small], worker=True) as engine:
        engine.cancel(engine.start(small, 1, id="o-1"))
    monkeypatch.chdir(tmp_path)
    assert not CliRunner().invoke(cli, ["history", "o-1", "--export", "--store", url]).exception
    assert History.read(tmp_path / "o-1.json").recorded.header.id == "o-1"


def test_check_exits_with_4_where_a_history_does_not_fit(tmp_path: Path) -> None:
    path = exported(tmp_path)
    text = json.loads(path.read_text())
    text["log"] = [row for row in text["log"] if "SignalReceived" not in json.dumps(row)]
    path.write_text(json.dumps(text))
    arguments = ["check", "tests.sim.corpus:CORPUS", "--histories", str(tmp_path)]
    assert CliRunner().invoke(cli, arguments, standalone_mode=False).return_value == 4


def test_the_corpus_is_twenty_workflows() -> None:
    assert len({w.key for w in corpus.CORPUS}) == 20
    assert small in corpus.CORPUS
