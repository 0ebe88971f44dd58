"""`replay simulate`: run a workflow in a simulated cluster with faults, seed by seed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from replay.cli import exit_codes
from replay.cli.output import bar, emit_json
from replay.cli.targets import load_workflows
from replay.cli.values import parse_value
from replay.codec import TaggedJson
from replay.definition import Workflow, top_level_packages

if TYPE_CHECKING:
    from replay.testing.checks.sweep import Seed

UNSUITABLE = ("failed", "compensation_failed", "stuck")
"""Statuses of an undisturbed run that prove nothing about disturbed runs."""


@click.command(
    "simulate",
    epilog="Example: replay simulate shop:approve_order --input '{\"id\": 1}' --signal approved=true --stub charge=7 --seeds 500",
)
@click.argument("workflow", metavar="MODULE:WORKFLOW")
@click.option("--input", "-i", "input_", help="The input, as JSON.")
@click.option(
    "--signal",
    "signals",
    multiple=True,
    metavar="ID[=JSON]",
    help="Sent in order, each when the workflow waits for it.",
)
@click.option(
    "--stub", "stubs", multiple=True, metavar="STEP=JSON", help="Result of a step; the other steps run for real."
)
@click.option("--other", "others", multiple=True, metavar="MODULE:WORKFLOW", help="Further workflows (children).")
@click.option("--seed", type=int, help="Run this seed alone, and print its timeline.")
@click.option("--seeds", type=click.IntRange(1), default=100, show_default=True, help="Run seeds 0 to N-1.")
@click.option("--workers", type=click.IntRange(1), default=3, show_default=True)
@click.option("--faults/--no-faults", default=True, show_default=True)
@click.option("--same/--any-result", default=True, show_default=True, help="Compare results, or statuses alone.")
@click.option("--plan", metavar="TOKEN", help="Run a failing scenario again, as it printed it.")
@click.option("--json", "as_json", is_flag=True, help="One line for each seed.")
def simulate_command(
    workflow: str,
    input_: str | None,
    signals: tuple[str, ...],
    stubs: tuple[str, ...],
    others: tuple[str, ...],
    seed: int | None,
    seeds: int,
    workers: int,
    faults: bool,
    same: bool,
    plan: str | None,
    as_json: bool,
) -> int:
    """Run a workflow under crashes, pauses, lost and doubled messages and an unreachable store, in virtual time.

    Each run must end as an undisturbed one, and run no recorded step again. Exit code 4 if one does not, or if the undisturbed
    one fails. Steps run for real, unless --stub gives their results. Faults cost virtual time: pass --any-result for a
    workflow whose result depends on speed.
    """
    definitions = [*load_workflows(workflow), *(w for other in others for w in load_workflows(other))]
    TaggedJson().trust(*top_level_packages(definitions))
    if plan is not None:
        return _run_plan(definitions, plan, as_json=as_json)
    given = {"--input": input_, "--workers": workers, **({} if faults else {"--no-faults": None})}
    many = {"--signal": signals, "--stub": stubs, "--other": others}
    return _run_seeds(
        definitions,
        _value(input_, "--input") if input_ is not None else None,
        range(seeds) if seed is None else [seed],
        _options(definitions, signals, stubs, same=same),
        {"workers": workers, "faults": faults},
        again=lambda number: _again(workflow, given, many, same, number),
        show_all=seed is not None,
        as_json=as_json,
    )


def _options(
    definitions: Sequence[Workflow[Any, Any]], signals: tuple[str, ...], stubs: tuple[str, ...], *, same: bool
) -> dict[str, Any]:
    """Return the options of disturbed and undisturbed runs."""
    from replay.testing.simulation.stubs import returns

    return {
        "signals": [_pair(each, "--signal") for each in signals],
        "steps": {id: returns(value) for id, value in (_pair(each, "--stub") for each in stubs)},
        "others": definitions[1:],
        "same": same,
    }


def _run_seeds(
    definitions: Sequence[Workflow[Any, Any]],
    value: Any,
    seeds: Sequence[int],
    options: dict[str, Any],
    disturbance: dict[str, Any],
    *,
    again: Callable[[int], str],
    show_all: bool,
    as_json: bool,
) -> int:
    """Run the seeds until one fails; return the exit code."""
    from replay.testing.checks.sweep import try_seeds, undisturbed

    plain = undisturbed(definitions[0], value, **options)
    if plain.problem or plain.rests or plain.ending.status in UNSUITABLE:
        click.echo(plain.timeline)
        why = plain.problem or plain.rests or ""
        click.echo(f"error: without any fault it ends {plain.ending}\n{why}".rstrip(), err=True)
        return exit_codes.CHECK_FAILED
    failed = False
    with bar("seeds", len(seeds)) as advance:
        for run in try_seeds(definitions[0], value, seeds=seeds, **disturbance, **options):
            advance(1)
            _print_run(run, show=show_all or bool(run.problem), as_json=as_json)
            if run.problem:
                failed = True
                click.echo(f"Reproduce: {again(run.seed)}", err=True)
                break
    if not as_json and not failed:
        ended = "" if plain.ending.status == "completed" else f" ({plain.ending})"
        click.echo(f"{len(seeds)} seeds: each run ended as undisturbed{ended}")
    return exit_codes.CHECK_FAILED if failed else exit_codes.OK


def _print_run(run: Seed, *, show: bool, as_json: bool) -> None:
    if as_json:
        emit_json({"seed": run.seed, "status": run.ending.status, "problem": run.problem})
    elif show:
        click.echo(run.timeline)
        click.echo(f"seed {run.seed}: {run.ending}")
    if run.problem:
        click.echo(f"error: seed {run.seed}: {run.problem}", err=True)


def _run_plan(definitions: Sequence[Workflow[Any, Any]], plan: str, *, as_json: bool) -> int:
    from replay.testing import run_plan

    try:
        run = run_plan(definitions[0], plan, others=definitions[1:]).run()
    except AssertionError as error:
        click.echo(f"error: {error}", err=True)
        return exit_codes.CHECK_FAILED
    if as_json:
        emit_json({"status": run.status, "result": run.result, "error": run.error})
    else:
        click.echo(f"{run!r}")
    return exit_codes.OK


def _again(
    target: str,
    given: dict[str, Any],
    many: dict[str, tuple[str, ...]],
    same: bool,
    seed: int,
) -> str:
    """Return the command line that runs a seed again."""
    words = ["replay", "simulate", target]
    for flag, value in given.items():
        words += (
            [flag] if value is None and flag.startswith("--no-") else [flag, str(value)] if value is not None else []
        )
    for flag, values in many.items():
        words += [word for value in values for word in (flag, value)]
    return shlex.join([*words, *([] if same else ["--any-result"]), "--seed", str(seed)])


def _pair(text: str, flag: str) -> tuple[str, Any]:
    id, given, value = text.partition("=")
    if not id:
        raise click.UsageError(f"{flag} takes ID=JSON, not {text!r}")
    return id, _value(value, flag) if given else None


def _value(text: str, what: str) -> Any:
    """Return a value in the codec's format, such as `{"$tuple": [1]}`."""
    return TaggedJson().decode(json.dumps(parse_value(text, what)).encode())
