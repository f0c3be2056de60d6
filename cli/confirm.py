"""Asks a person before something is destroyed: what is to be touched must be typed."""

import sys

import click

from .errors import Code, CommandFailed


def confirm(what: str, *, act: str, warning: str) -> None:
    """Ask a person to type `what`. Raises CommandFailed without a person, or at another answer."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailed(Code.NEEDS_CONFIRMATION, f"nobody can be asked whether to {act} {what}", "say --yes")
    click.echo(warning)
    answer = click.prompt(f"Type {what!r} to go on", prompt_suffix=": ", default="", show_default=False)
    if answer.strip() != what:
        raise CommandFailed(Code.DECLINED, "that is something else; nothing was changed")
