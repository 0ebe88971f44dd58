"""The entry point of `replay-worker`: heeds signals before it loads anything that takes time."""

from __future__ import annotations

from typing import NoReturn

from replay.cli.process.signals import end_at_once


def main() -> NoReturn:
    """Run `replay-worker`."""
    end_at_once()
    from replay.cli import shell
    from replay.cli.commands.worker import worker_command

    shell.run(worker_command, "replay-worker")


if __name__ == "__main__":
    main()
