"""`replay bench`: how fast is it here, on this store, with this workflow?"""

from __future__ import annotations

import cProfile
import io
import pstats
import tempfile
from pathlib import Path
from typing import Any

import click

from replay.cli import shell

NAMES = ("replay", "steps", "executions", "latency", "suspended", "fanout", "schedules")


@click.command(
    "bench", epilog="Example: replay bench steps latency --store redis://localhost:6379/0 --json > today.jsonl"
)
@click.argument("workloads", nargs=-1, type=click.Choice(NAMES))
@click.option("--store", "-s", metavar="URL", envvar="REPLAY_STORE", help="Default: a new SQLite file.")
@click.option("--queue", metavar="URL", envvar="REPLAY_QUEUE", help="amqp://HOST.")
@click.option("--workflow", metavar="MODULE:WORKFLOW", help="With --history: replay your own instead of a made-up one.")
@click.option("--history", type=click.Path(exists=True, path_type=Path), help="A file of `replay history --export`.")
@click.option(
    "--size", "-n", type=click.IntRange(10), help="Steps, executions or members; default: the workload's own."
)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Times that each case is measured.")
@click.option("--compare", type=click.Path(exists=True, path_type=Path), help="Lines of an earlier --json run.")
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Draw rate against size (PNG or SVG; needs the extra plot)."
)
@click.option("--profile", is_flag=True, help="Name the hot functions instead.")
@click.option("--json", "as_json", is_flag=True, help="One line for each case.")
def bench_command(
    workloads: tuple[str, ...],
    store: str | None,
    queue: str | None,
    workflow: str | None,
    history: Path | None,
    size: int | None,
    runs: int,
    compare: Path | None,
    plot: Path | None,
    profile: bool,
    as_json: bool,
) -> int:
    """Measure replay throughput and more; without names: replay, steps, executions and latency.

    Figures of one run are comparable with each other (ratios), less so with those of other days. Live workloads use the
    namespace replay-bench of the store.
    """
    from replay.bench.harness import Figure, read, table
    from replay.bench.setting import Setting
    from replay.bench.workloads import WORKLOADS
    from replay.histories import History

    if (workflow is None) != (history is None):
        raise click.UsageError("--workflow and --history belong together")
    earlier = read(compare) if compare is not None else {}
    names = workloads or (("replay",) if history else NAMES[:4])
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(
            store=store or f"sqlite:///{folder}/bench.db",
            queue=queue,
            n=size,
            runs=runs,
            workflow=shell.load_workflows(workflow)[0] if workflow else None,
            history=History.read(history) if history else None,
            say=shell.progress,
        )
        profiler = cProfile.Profile()
        for name in names:
            if profile:
                profiler.enable()
            for figure in WORKLOADS[name](setting):
                figures.append(figure)
                if as_json and not profile:
                    shell.progress("")
                    shell.emit_json(figure.line())
            profiler.disable()
    shell.progress("")
    if profile:
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(25)
        click.echo(text.getvalue())
    elif not as_json:
        shell.emit_table(("workload", "system", "case", "median", "unit", "range", "ratio"), table(figures))
    for figure in figures if earlier else ():
        _compare(figure, earlier.get(figure.key), as_json=as_json)
    if plot is not None:
        _plot(figures, plot)
    return shell.OK


def _compare(figure: Any, before: dict[str, Any] | None, *, as_json: bool) -> None:
    if before is None:
        return
    change = figure.median / before["median"] if before["median"] else float("nan")
    now = round(figure.median, 3)
    if as_json:
        shell.emit_json(
            {"compare": list(figure.key), "before": before["median"], "now": now, "change": round(change, 3)}
        )
    else:
        what = f"{figure.workload}, {figure.case}"
        click.echo(f"{what}: {before['median']:,.1f} -> {now:,.1f} {figure.unit} ({change:.2f} x)")


def _plot(figures: list[Any], path: Path) -> None:
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise click.UsageError("--plot needs matplotlib. Fix: pip install 'replay-engine[plot]'") from error
    canvas = Canvas(figsize=(9, 1 + 0.4 * len(figures)), layout="constrained")
    axes = canvas.add_subplot()
    labels = [f"{f.workload}: {f.case} [{f.unit}]" for f in figures]
    axes.barh(labels, [f.median for f in figures], log=True)
    axes.invert_yaxis()
    canvas.savefig(path)
    click.echo(f"drawn: {path}", err=True)
