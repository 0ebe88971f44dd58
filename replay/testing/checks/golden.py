"""Recorded logs against the code of today: `assert_replays`, and `histories` to draw logs of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replay.client.histories import History
from replay.core.errors import NonDeterminism, Undecodable
from replay.definition import Workflow
from replay.testing.checks.log_vs_code import side_by_side
from replay.testing.checks.replaying import replay


def assert_replays(workflow: Workflow[Any, Any], histories: str | Path) -> int:
    """Replay exported histories of *workflow* against its code: what `replay check` does, as a test.

    Args:
        histories: A file that `replay history ID --export FILE` or `replay export` wrote, or a folder of them.

    Returns:
        How many were replayed; those of other workflows are passed over.

    Raises:
        AssertionError: One does not fit (both sides, the line and the remedy are in it), or there was none.
        ValueError: A file is something else.
    """
    count = 0
    for where, history in read_histories(Path(histories)):
        header = history.recorded.header
        if (header.workflow, header.version) != (workflow.key, workflow.version):
            continue
        try:
            replay(workflow, history.recorded).close()
        except (NonDeterminism, Undecodable) as error:
            sides = f"\n{side_by_side(history.recorded, error)}" if isinstance(error, NonDeterminism) else ""
            raise AssertionError(
                f"{where} (execution {header.id!r}) does not fit today's code:\n{error}{sides}"
            ) from error
        count += 1
    if not count:
        raise AssertionError(
            f"no history of workflow {workflow.key!r}, version {workflow.version!r}, in {histories}. "
            f"Fix: `replay history ID --export FILE`"
        )
    return count


def read_histories(path: Path) -> Iterator[tuple[str, History]]:
    """Yield what a file or the `.json` and `.jsonl` files of a folder hold, each with where it stands.

    Raises:
        ValueError: A file is something else.
    """
    for file in sorted(path.glob("**/*.json*")) if path.is_dir() else [path]:
        if file.suffix == ".jsonl":
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                where = f"{file}, line {number}"
                yield where, History.parse(line, where)
        else:
            yield str(file), History.read(file)
