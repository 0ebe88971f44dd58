"""`replay simulate`: one's own workflow in a simulated cluster in which everything goes wrong."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import click

from replay.cli import shell
from replay.codec import TaggedJson
from replay.definition import Workflow, top_level_packages

WORKS_NOT = ("failed", "compensation_failed", "stuck")
"""Endings of an undisturbed run with which disturbed ones prove nothing."""


@click.command(
    "simulate",
    epilog="Example: replay simulate shop:approve_order --input '{\"id\": 1}' --signal approved=true --stub charge=7 --seeds 500",
)
@click.argument("workflow", metavar="MODULE:WORKFLOW")
@click.option("--input", "-i", "input_", help="The input, as JSON.")
@click.option("--signal", "signals", multiple=True, metavar="ID[=JSON]", help="Sent when it is waited for, in order.")
@click.option("--stub", "stubs", multiple=True, metavar="STEP=JSON", help="What a step returns; others run for real.")
@click.option("--other", "others", multiple=True, metavar="MODULE:WORKFLOW", help="Further workflows (children).")
@click.option("--seed", type=int, help="Run this seed alone, and print what happens.")
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

    Each run must end as an undisturbed one does, and run no recorded step again; exit code 4 if one does not, or if the
    undisturbed one fails. Steps run for real, unless --stub tells what they return. Faults cost virtual time: pass
    --any-result for a workflow whose result hangs on which of two things was faster.
    """
    from replay.testing.checks.sweep import try_seeds, undisturbed
    from replay.testing.simulation.stubs import returns

    definitions = [*shell.load_workflows(workflow), *(w for other in others for w in shell.load_workflows(other))]
    TaggedJson().trust(*top_level_packages(definitions))
    if plan is not None:
        return _run_plan(definitions, plan, as_json=as_json)
    value = _value(input_, "--input") if input_ is not None else None
    options: dict[str, Any] = {
        "signals": [_pair(each, "--signal") for each in signals],
        "steps": {id: returns(value) for id, value in (_pair(each, "--stub") for each in stubs)},
        "others": definitions[1:],
        "same": same,
    }
    plain = undisturbed(definitions[0], value, **options)
    if plain.problem or plain.ending.status in WORKS_NOT:
        click.echo(plain.timeline)
        click.echo(f"error: without any fault it ends {plain.ending}\n{plain.problem or ''}".rstrip(), err=True)
        return shell.CHECK_FAILED
    numbers = range(seeds) if seed is None else [seed]
    given = {"--input": input_, "--workers": workers, **({} if faults else {"--no-faults": None})}
    many = {"--signal": signals, "--stub": stubs, "--other": others}
    failed = 0
    with shell.bar("seeds", len(numbers)) as advance:
        for run in try_seeds(definitions[0], value, seeds=numbers, workers=workers, faults=faults, **options):
            advance(1)
            if as_json:
                shell.emit_json({"seed": run.seed, "status": run.ending.status, "problem": run.problem})
            elif seed is not None or run.problem:
                click.echo(run.timeline)
                click.echo(f"seed {run.seed}: {run.ending}")
            if run.problem:
                failed += 1
                click.echo(f"error: seed {run.seed}: {run.problem}", err=True)
                click.echo(f"Reproduce: {_again(workflow, given, many, same, run.seed)}", err=True)
                break
    if not as_json and not failed:
        ended = "" if plain.ending.status == "completed" else f" ({plain.ending})"
        click.echo(f"{len(numbers)} seeds: each run ended as undisturbed{ended}")
    return shell.CHECK_FAILED if failed else shell.OK


def _run_plan(definitions: Sequence[Workflow[Any, Any]], plan: str, *, as_json: bool) -> int:
    from replay.testing import run_plan

    try:
        run = run_plan(definitions[0], plan, others=definitions[1:])
    except AssertionError as error:
        click.echo(f"error: {error}", err=True)
        return shell.CHECK_FAILED
    if as_json:
        shell.emit_json({"status": run.status, "result": run.result, "error": run.error})
    else:
        click.echo(f"{run!r}")
    return shell.OK


def _again(
    target: str,
    given: dict[str, Any],
    many: dict[str, tuple[str, ...]],
    same: bool,
    seed: int,
) -> str:
    """Return the line that runs a seed again, as it can be typed."""
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
    """Return a value as the codec writes it, `{"$tuple": [1]}` included."""
    return TaggedJson().decode(json.dumps(shell.parse_value(text, what)).encode())
