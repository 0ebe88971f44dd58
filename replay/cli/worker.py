"""The entry point of `replay-worker`: signals are handled before anything slow is loaded."""

from __future__ import annotations

from typing import NoReturn

from replay.cli.process.signals import end_at_once


def main() -> NoReturn:
    """Run `replay-worker`."""
    end_at_once()
    from replay.cli.commands.worker import worker_command
    from replay.cli.invocation import run

    run(worker_command, "replay-worker")


if __name__ == "__main__":
    main()
