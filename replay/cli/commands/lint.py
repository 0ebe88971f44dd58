"""`replay lint`: the static check, as a command of the group."""

from replay.lint.command import lint_command

__all__ = ["lint_command"]
