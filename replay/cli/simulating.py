"""`replay simulate`: one's own workflow in a simulated cluster in which everything goes wrong."""

from __future__ import annotations

import json
import logging
from typing import Any

import click

from replay.cli import shell
from replay.codec import TaggedJson


@click.command(
    "simulate",
    epilog="Example: replay simulate shop:approve_order --input '{\"id\": 1}' --signal approved=true --stub charge=7 --seeds 500",
)
@click.argument("workflow", metavar="MODULE:WORKFLOW")
@click.option("--input", "-i", "input_", help="The input, as JSON.")
@click.option("--signal", "signals", multiple=True, metavar="ID[=JSON]", help="Sent when it is waited for, in order.")
@click.option("--stub", "stubs", multiple=True, metavar="STEP=JSON", help="What a step returns; others run for real.")
@click.option("--seed", type=int, help="Run this seed alone, and print what happens.")
@click.option("--seeds", type=click.IntRange(1), default=100, show_default=True, help="Run seeds 0 to N-1.")
@click.option("--workers", type=click.IntRange(1), default=3, show_default=True)
@click.option("--faults/--no-faults", default=True, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line for each seed.")
def simulate_command(
    workflow: str,
    input_: str | None,
    signals: tuple[str, ...],
    stubs: tuple[str, ...],
    seed: int | None,
    seeds: int,
    workers: int,
    faults: bool,
    as_json: bool,
) -> int:
    """Run a workflow under crashes, pauses, lost and doubled messages and an unreachable store, in virtual time.

    Each run must end as an undisturbed one does, and run no recorded step again; exit code 4 if one does not.
    Steps run for real, unless --stub tells what they return.
    """
    from replay.testing.seeds import try_seeds
    from replay.testing.stubs import returns

    # Faults are what is wanted here: the worker's warnings about an unreachable store would bury the verdict.
    logging.getLogger("replay").addHandler(logging.NullHandler())
    definitions = shell.load_workflows(workflow)
    options: dict[str, Any] = {
        "signals": [_pair(each, "--signal") for each in signals],
        "steps": {id: returns(value) for id, value in (_pair(each, "--stub") for each in stubs)},
        "others": definitions[1:],
        "workers": workers,
        "faults": faults,
    }
    value = _value(input_, "--input") if input_ is not None else None
    numbers = range(seeds) if seed is None else [seed]
    failed = 0
    with shell.bar("seeds", len(numbers)) as advance:
        for run in try_seeds(definitions[0], value, seeds=numbers, **options):
            advance(1)
            if as_json:
                shell.emit_json({"seed": run.seed, "status": run.ending.status, "problem": run.problem})
            elif seed is not None or run.problem:
                click.echo(run.timeline)
                click.echo(f"seed {run.seed}: {run.ending.status} {run.ending.result}")
            if run.problem:
                failed += 1
                click.echo(f"error: seed {run.seed}: {run.problem}", err=True)
                click.echo(f"Reproduce: replay simulate {workflow} ... --seed {run.seed} --workers {workers}", err=True)
                break
    if not as_json and not failed:
        click.echo(f"{len(numbers)} seeds: each run ended as undisturbed")
    return shell.CHECK_FAILED if failed else shell.OK


def _pair(text: str, flag: str) -> tuple[str, Any]:
    id, given, value = text.partition("=")
    if not id:
        raise click.UsageError(f"{flag} takes ID=JSON, not {text!r}")
    return id, _value(value, flag) if given else None


def _value(text: str, what: str) -> Any:
    """Return a value as the codec writes it, `{"$tuple": [1]}` included."""
    return TaggedJson().decode(json.dumps(shell.parse_value(text, what)).encode())
