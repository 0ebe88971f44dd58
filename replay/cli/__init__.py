"""The commands on the shell: `replay ...` and `replay-worker ...`."""

from __future__ import annotations


def main() -> None:
    """Run `replay`."""
    from replay.cli.invocation import run
    from replay.cli.root import cli

    run(cli, "replay")
