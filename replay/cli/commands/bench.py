"""`replay bench`: how fast is it here, on this store, with this workflow?"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import attrs
import click

from replay.cli import shell

NAMES = ("replay", "steps", "executions", "latency", "suspended", "waking", "fanout", "schedules")


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
    "--plot",
    type=click.Path(path_type=Path),
    help="Measure three sizes, and draw cost against size (PNG or SVG; needs the extra plot).",
)
@click.option("--profile", is_flag=True, help="Name the hot functions of all threads instead.")
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
    from replay.bench.parameters import Parameters
    from replay.bench.profiling import profiling
    from replay.bench.workloads import WORKLOADS
    from replay.client.histories import History

    if (workflow is None) != (history is None):
        raise click.UsageError("--workflow and --history belong together")
    earlier = read(compare) if compare is not None else {}
    names = workloads or (("replay",) if history else NAMES[:4])
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        parameters = Parameters(
            store=store or f"sqlite:///{folder}/bench.db",
            queue=queue,
            n=size,
            runs=runs,
            workflow=shell.load_workflows(workflow)[0] if workflow else None,
            history=History.read(history) if history else None,
            say=shell.progress,
        )
        with profiling() if profile else contextlib.nullcontext() as profiled:
            todo = [(name, each) for name in names for each in _sizes(parameters, name, sweep=plot is not None)]
            for workload, sized in todo:
                for figure in WORKLOADS[workload].run(sized):
                    figures.append(figure)
                    if as_json and not profile:
                        shell.progress("")
                        shell.emit_json(figure.line())
    shell.progress("")
    if profiled is not None:
        click.echo(profiled.report(25))
    elif not as_json:
        shell.emit_table(("workload", "system", "case", "median", "unit", "range", "ratio"), table(figures))
    for figure in figures if earlier else ():
        _compare(figure, earlier.get(figure.key), as_json=as_json)
    if plot is not None:
        _plot(figures, plot)
    return shell.OK


def _sizes(parameters: Any, name: str, *, sweep: bool) -> list[Any]:
    """Return what to measure of workload *name*: the size that is wanted, with *sweep* smaller ones before it."""
    from replay.bench.workloads import WORKLOADS

    if not sweep:
        return [parameters]
    size = parameters.n or WORKLOADS[name].usual
    return [attrs.evolve(parameters, n=n) for n in sorted({max(10, size // 100), max(10, size // 10), size})]


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
    from replay.bench.harness import curves

    lines = curves(figures)
    canvas = Canvas(figsize=(9, 3 + 0.2 * len(lines)), layout="constrained")
    axes = canvas.add_subplot(xscale="log", yscale="log", xlabel="size", ylabel="cost (us each, or the case's unit)")
    for label, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.grid(which="both", alpha=0.3)
    canvas.legend(loc="outside lower center", ncols=2, fontsize="small")
    canvas.savefig(path)
    click.echo(f"drawn: {path}", err=True)
