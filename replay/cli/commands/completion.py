"""`replay completion`: print shell completion."""

from __future__ import annotations

import click


@click.command("completion", epilog='Example: eval "$(replay completion bash)"')
@click.argument("shell_name", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell_name: str) -> None:
    """Print the script that makes the shell complete commands and options. Add it to the shell's start-up file."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell_name)
    if found is None:
        raise click.UsageError(f"no completion for {shell_name}")
    click.echo(found(context.find_root().command, {}, "replay", "_REPLAY_COMPLETE").source())
