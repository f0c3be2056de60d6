"""The command `tidelog`: entry point, and what every way of ending a command turns into.

`version` and the plain spellings of `health` are answered before click is imported; everything else goes to the command
tree in `tree.py`. `run` returns the exit code and raises nothing, so that tests and the installed script share it.
"""

import gc
import os
import sys
from collections.abc import Sequence

from .. import __version__
from .errors import Code, CommandFailed, Exit

COMPLETION_VARIABLE = "_TIDELOG_COMPLETE"
"""Set by the shell functions that click makes, when a line is to be completed."""
GC_THRESHOLDS = (50_000, 20, 100)
"""Imports make objects that stay, requests such as die by themselves: looking for cycles after every 700 is a waste."""


def main() -> None:
    """Run the process's command line and end the process."""
    gc.set_threshold(*GC_THRESHOLDS)
    _stand_in_for_closed_streams()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        code = Exit.BROKEN_PIPE
    sys.exit(code)


def _stand_in_for_closed_streams() -> None:
    """`>&-` leaves Python without the stream: read nothing from it, write to nobody."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors have been printed."""
    try:
        if arguments[:1] == ["version"] and len(arguments) == 1:
            sys.stdout.write(f"tidelog {__version__}\n")
            return Exit.OK
        if arguments[:1] == ["health"]:
            from . import health

            answer = health.quick(arguments[1:], os.environ)
            if answer is not None:
                sys.stdout.write(answer + "\n")
                return Exit.OK
        return _run_tree(arguments)
    except CommandFailed as failure:
        return _report(failure, as_json=False)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return Exit.BROKEN_PIPE
    except OSError as error:
        # A full disk behind `>`, a file that may not be read: the system's words are the user's.
        _forget_stdout()
        return _report(CommandFailed(Code.FAILED, str(error)), as_json=False)


def _run_tree(arguments: Sequence[str]) -> int:
    """Hand the line to click; its usage errors speak our dialect."""
    import click

    from .commands import Settings
    from .tree import root

    settings = Settings()
    try:
        if COMPLETION_VARIABLE in os.environ:
            root.main(args=list(arguments), prog_name="tidelog", complete_var=COMPLETION_VARIABLE)
        # Not click's own `main`: that ends the process with 1 when the reader of a pipe is gone.
        with root.make_context("tidelog", list(arguments), obj=settings) as context:
            root.invoke(context)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except CommandFailed as failure:
        return _report(failure, as_json=settings.wants_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return Exit.USAGE
    except click.ClickException as error:
        where = error.ctx if isinstance(error, click.UsageError) else None
        path = "tidelog" if where is None else where.command_path
        return _report(
            CommandFailed(Code.USAGE, error.format_message().rstrip("."), f"see {path} --help"),
            as_json=settings.wants_json,
        )
    except click.Abort:
        return Exit.INTERRUPTED
    return Exit.OK


def _report(failure: CommandFailed, *, as_json: bool) -> int:
    """Print a failure on stderr; its exit code."""
    if as_json:
        import json

        sys.stderr.write(json.dumps(failure.as_json(), ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(failure.line() + "\n")
    return failure.code.exit_code


def _forget_stdout() -> None:
    """Nobody takes what is printed any more: let the interpreter's last flush go nowhere, quietly."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass
