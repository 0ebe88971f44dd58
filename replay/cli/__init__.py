"""The commands on the shell: `replay ...` and `replay-worker ...`."""

from __future__ import annotations


def main() -> None:
    """Run `replay`."""
    from replay.cli.exit_codes import run
    from replay.cli.root import cli

    run(cli, "replay")
