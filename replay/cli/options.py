"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--store`, `--namespace` and `--json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object per line."),
        click.option(
            "--namespace", default="default", show_default=True, help="Keeps applications apart that share a store."
        ),
        click.option("--store", "-s", required=True, metavar="URL", help="sqlite:///FILE, redis://HOST, ..."),
    ):
        command = option(command)
    return command


app_option = click.option(
    "--app", "-A", metavar="MODULE:OBJECT", help="The workflows, so that values of their classes can be read."
)
"""Adds `--app`: inspection works without the code, and shows more with it."""

raw_option = click.option(
    "--raw", is_flag=True, help="Values are in the codec's own format (tagged JSON), classes included."
)
"""Adds `--raw`."""

by_option = click.option("--by", help="Name for the audit trail; default: your user name.")
"""Adds `--by`."""


def reason_option(help: str = "Kept in the audit trail.", *, required: bool = False) -> Callable[..., Any]:
    """Return a decorator that adds `--reason`, also called `--why`."""
    if required:
        return click.option("--reason", "--why", "reason", required=True, help=help)
    return click.option("--reason", "--why", "reason", default="", help=help)


yes_option = click.option("--yes", is_flag=True, help="With filters: act. Without --yes matches are only counted.")
"""Adds `--yes` to a command for one execution or many."""
