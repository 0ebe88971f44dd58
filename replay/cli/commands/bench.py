"""`replay bench`: measure replay throughput, steps, latency on this machine."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from replay.cli import exit_codes
from replay.cli.output import emit_json, emit_table, progress
from replay.cli.targets import load_workflows
from replay.client.histories import History

if TYPE_CHECKING:
    from replay.bench.harness import Figure
    from replay.bench.parameters import Parameters

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
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Measurements of each case.")
@click.option(
    "--compare", type=click.Path(exists=True, path_type=Path), help="Compare with the lines of an earlier --json run."
)
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
    """Measure workloads; without names: replay, steps, executions and latency.

    Compare figures of one run with each other; those of other days vary. Live workloads use the namespace replay-bench of the
    store.
    """
    from replay.bench.harness import read
    from replay.bench.parameters import Parameters

    if (workflow is None) != (history is None):
        raise click.UsageError("--workflow and --history belong together")
    earlier = read(compare) if compare is not None else {}
    names = workloads or (("replay",) if history else NAMES[:4])
    with tempfile.TemporaryDirectory() as folder:
        parameters = Parameters(
            store=store or f"sqlite:///{folder}/bench.db",
            queue=queue,
            n=size,
            runs=runs,
            workflow=load_workflows(workflow)[0] if workflow else None,
            history=History.read(history) if history else None,
            say=progress,
        )
        figures = _measure(parameters, names, sweep=plot is not None, profile=profile, as_json=as_json)
    for figure in figures if earlier else ():
        _compare(figure, earlier.get(figure.key), as_json=as_json)
    if plot is not None:
        _plot(figures, plot)
    return exit_codes.OK


def _measure(
    parameters: Parameters, names: Sequence[str], *, sweep: bool, profile: bool, as_json: bool
) -> list[Figure]:
    """Run the workloads and print their figures, or with *profile* the hot functions."""
    from replay.bench.harness import table
    from replay.bench.profiling import profiling
    from replay.bench.workloads import WORKLOADS

    figures: list[Figure] = []
    with profiling() if profile else contextlib.nullcontext() as profiled:
        todo = [(name, each) for name in names for each in _sizes(parameters, name, sweep=sweep)]
        for workload, sized in todo:
            for figure in WORKLOADS[workload].run(sized):
                figures.append(figure)
                if as_json and not profile:
                    progress("")
                    emit_json(figure.line())
    progress("")
    if profiled is not None:
        click.echo(profiled.report(25))
    elif not as_json:
        emit_table(("workload", "system", "case", "median", "unit", "range", "ratio"), table(figures))
    return figures


def _sizes(parameters: Parameters, name: str, *, sweep: bool) -> list[Parameters]:
    """Return the parameters for workload *name*: its size, with *sweep* two smaller ones first."""
    from replay.bench.workloads import WORKLOADS

    if not sweep:
        return [parameters]
    size = parameters.n or WORKLOADS[name].usual
    return [attrs.evolve(parameters, n=n) for n in sorted({max(10, size // 100), max(10, size // 10), size})]


def _compare(figure: Figure, before: dict[str, Any] | None, *, as_json: bool) -> None:
    if before is None:
        return
    change = figure.median / before["median"] if before["median"] else float("nan")
    now = round(figure.median, 3)
    if as_json:
        emit_json({"compare": list(figure.key), "before": before["median"], "now": now, "change": round(change, 3)})
    else:
        what = f"{figure.workload}, {figure.case}"
        click.echo(f"{what}: {before['median']:,.1f} -> {now:,.1f} {figure.unit} ({change:.2f} x)")


def _plot(figures: list[Figure], path: Path) -> None:
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
