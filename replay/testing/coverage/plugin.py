"""Options `--rw-coverage`, `--rw-coverage-of` and `--rw-coverage-min` of pytest: the report at the end of the run, and its bound."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from replay.definition import Workflow
from replay.testing.coverage.observed import Observed
from replay.testing.coverage.report import Coverage

_KEY = "replay_durable_coverage"
"""Name under which a process of pytest-xdist hands its coverage over."""


class DurableCoverage:
    """Plugin that records while the tests run, and reports afterwards. With pytest-xdist it adds up its processes.

    Args:
        config: The configuration of pytest.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._minimum: float | None = config.getoption("--rw-coverage-min")
        self._wanted = [each for target in config.getoption("--rw-coverage-of") for each in _workflows(target)]
        self._observed = Observed()
        self._recording = contextlib.ExitStack()
        self._recording.enter_context(self._observed.recording())
        self._coverage = Coverage()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End recording; hand the coverage over, or hold the bound."""
        self._recording.close()
        taken = self._observed.taken
        for workflow in self._wanted or list(taken):
            self._coverage.add(workflow, taken.get(workflow, ()))
        handed_over = getattr(session.config, "workeroutput", None)
        if handed_over is not None:
            handed_over[_KEY] = self._coverage.plain()
        elif self._falls_short() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the coverage of a process of pytest-xdist."""
        self._coverage.merge(getattr(node, "workeroutput", {}).get(_KEY, {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report."""
        terminalreporter.section("durable coverage")
        for line in self._coverage.lines():
            terminalreporter.write_line(line)
        if self._falls_short():
            terminalreporter.write_line(
                f"FAIL: durable coverage is {self._coverage.percent():.1f} %, less than {self._minimum:g} %", red=True
            )

    def pytest_unconfigure(self) -> None:
        """End recording, also where the session did not begin."""
        self._recording.close()

    def _falls_short(self) -> bool:
        return self._minimum is not None and self._coverage.percent() < self._minimum


def _workflows(target: str) -> Iterator[Workflow[Any, Any]]:
    """Yield the workflows of `module` or `module:object`.

    Raises:
        pytest.UsageError: There is no such module, or no workflow in it.
    """
    module, _, name = target.partition(":")
    try:
        found = importlib.import_module(module)
        held: Any = getattr(found, name) if name else list(vars(found).values())
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"--rw-coverage-of {target}: {error}") from error
    workflows = [each for each in (held if isinstance(held, list | tuple) else [held]) if isinstance(each, Workflow)]
    if not workflows:
        raise pytest.UsageError(f"--rw-coverage-of {target}: no workflow is there. Fix: MODULE or MODULE:OBJECT")
    yield from workflows
