"""`replay lint`: find code that is not safe to replay."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from operator import attrgetter
from types import FunctionType
from typing import Any

import click

from replay.cli import exit_codes
from replay.definition import Workflow
from replay.engine import Engine
from replay.lint.fixes import fix_files
from replay.lint.rules import RULES, Finding
from replay.lint.scan import lint_function, lint_module


def _codes(context: click.Context, parameter: click.Parameter, value: str | None) -> frozenset[str] | None:
    """Parse a list of rule codes or prefixes: `RW101,RW2`."""
    if value is None:
        return None
    wanted = [part.strip().upper() for part in value.split(",") if part.strip()]
    for part in wanted:
        if not any(code.startswith(part) for code in RULES):
            raise click.BadParameter(f"{part!r} is no rule; the rules are {', '.join(RULES)}", context, parameter)
    return frozenset(code for code in RULES if code.startswith(tuple(wanted)))


@click.command("lint", epilog="Example: replay lint shop/orders.py   or: replay lint shop.app:workflows --json")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option(
    "--select", callback=_codes, metavar="CODES", help="Only these rules: RW101,RW2 (a beginning names many)."
)
@click.option("--ignore", callback=_codes, metavar="CODES", help="Not these rules.")
@click.option("--fix", is_flag=True, help="Correct the files where one correction alone is possible.")
@click.pass_context
def lint_command(
    context: click.Context,
    targets: tuple[str, ...],
    as_json: bool,
    select: frozenset[str] | None,
    ignore: frozenset[str] | None,
    fix: bool,
) -> None:
    """Find code that makes a workflow unsafe to replay. Exit code 4 if there are errors.

    TARGET is a file, a folder or a module; these are read, not imported. MODULE:OBJECT is imported. Helpers are followed into other
    files. With --fix the findings that are left are printed, and count for the exit code.
    """
    shown = (frozenset(RULES) if select is None else select) - (ignore or frozenset())
    findings = [f for f in dict.fromkeys(_findings(targets)) if f.code in shown]
    fixed = set(fix_files(findings)) if fix else set()
    findings = [finding for finding in findings if finding not in fixed]
    for finding in findings:
        click.echo(json.dumps(finding.json(), ensure_ascii=False) if as_json else finding.text())
    errors = sum(finding.severity == "error" for finding in findings)
    if not as_json:
        corrected = f", {len(fixed)} fixed" if fix else ""
        click.echo(f"{errors} errors, {len(findings) - errors} warnings{corrected}", err=True)
    context.exit(exit_codes.CHECK_FAILED if errors else exit_codes.OK)


def _findings(targets: Iterable[str]) -> Iterable[Finding]:
    for target in targets:
        try:
            yield from _lint_object(target) if _names_object(target) else lint_module(target)
        except FileNotFoundError as error:
            raise click.UsageError(str(error)) from error
        except (SyntaxError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{target} cannot be read as Python: {error}") from error


def _names_object(target: str) -> bool:
    module, colon, name = target.rpartition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])


def _lint_object(target: str) -> list[Finding]:
    """Check the workflows of `module:object`. A factory is not called: its module's file is checked instead."""
    module, _, path = target.partition(":")
    try:
        found: Any = attrgetter(path)(import_module(module))
    except Exception as error:  # a user's module may raise anything on import
        raise click.UsageError(f"{target}: {type(error).__name__}: {error}") from error
    if isinstance(found, Engine):
        found = list(found.definitions)
    if isinstance(found, FunctionType):
        return lint_module(module)
    workflows = list(found) if isinstance(found, list | tuple | set | frozenset) else [found]
    if not all(isinstance(each, Workflow) for each in workflows):
        raise click.UsageError(f"{target} is {type(found).__name__}, not a workflow, a list of workflows, or an Engine")
    return [finding for each in workflows for finding in lint_function(each)]
