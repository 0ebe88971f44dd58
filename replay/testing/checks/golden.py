"""Golden histories: `assert_replays` replays exported logs against today's code."""

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
    """Replay exported histories of *workflow* against its code, as `replay check` does.

    Args:
        histories: A file that `replay history ID --export FILE` or `replay export` wrote, or a folder of them.

    Returns:
        Number of replayed histories. Those of other workflows are skipped.

    Raises:
        AssertionError: A history does not fit the code, or there is none. The message shows both sides, the line and the remedy.
        ValueError: A file holds no history.
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
    """Yield each history of a file, or of the `.json` and `.jsonl` files below a folder, with its place.

    Raises:
        ValueError: A file holds no history.
    """
    for file in sorted(path.glob("**/*.json*")) if path.is_dir() else [path]:
        if file.suffix == ".jsonl":
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                where = f"{file}, line {number}"
                yield where, History.parse(line, where)
        else:
            yield str(file), History.read(file)
