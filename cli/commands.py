"""What all commands share: options that may stand anywhere on the line, examples on every help page, lazy loading.

`-s/--server` and its kin belong to every command and every group: `tidelog -s X topic ls` and `tidelog topic ls -s X`
mean the same, and the last one wins. They leave their value in `Settings`, the context's object.
"""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import click

SERVER = "127.0.0.1:9092"
TIMEOUT = 10.0
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(slots=True, kw_only=True)
class Settings:
    """What the shared options said; one object for a whole command line."""

    server: str | None = None
    timeout_given: float | None = None
    verbose: bool = False
    output: str | None = None

    @property
    def timeout(self) -> float:
        """How long one answer of the broker may take."""
        return TIMEOUT if self.timeout_given is None else self.timeout_given

    @property
    def wants_json(self) -> bool:
        """Errors are JSON when the answer would have been."""
        return self.output in ("json", "jsonl")


def seconds_of(text: str) -> float | None:
    """Seconds of a duration such as `10s`, `1h30m`, `250ms` or a bare number of seconds; None if it is not one."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)


def duration(value: object) -> float:
    """A duration option, as seconds; for click's `type=`."""
    seconds = value if isinstance(value, float) else seconds_of(str(value))
    if seconds is None or seconds <= 0:
        raise click.BadParameter(f"{value!r} is not a duration such as 10s, 500ms or 1m")
    return seconds


def key_value(value: object) -> tuple[str, str]:
    """A `name=value` option, as a pair; for click's `type=`."""
    name, equals, rest = str(value).partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{value!r} is not name=value")
    return name, rest


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep a shared option's value for the whole line, wherever the option stood."""
    settings = context.ensure_object(Settings)
    if value is not None and parameter.name is not None:
        setattr(settings, parameter.name.removeprefix("alias_"), value)


VERBOSE = click.Option(
    ["--verbose"],
    is_flag=True,
    default=None,
    expose_value=False,
    callback=_remember,
    help="Log what happens to stderr.",
)
SHARED: tuple[click.Option, ...] = (
    click.Option(
        ["-s", "--server"],
        metavar="HOST:PORT[,…]",
        expose_value=False,
        callback=_remember,
        help=f"The broker.  [env: TIDELOG_SERVER; default: {SERVER}]",
    ),
    click.Option(["-b", "--bootstrap-server", "alias_server"], hidden=True, expose_value=False, callback=_remember),
    click.Option(
        ["--timeout", "timeout_given"],
        type=duration,
        expose_value=False,
        callback=_remember,
        help="How long to wait for the broker.",
    ),
    VERBOSE,
)


class Command(click.Command):
    """A command whose help page ends with examples that run."""

    examples: Sequence[str] = ()
    remote = True
    """It talks to a broker, so the shared options mean something to it."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options, then the shared ones."""
        own = super().get_params(ctx)
        return [*own[:-1], *(SHARED if self.remote else (VERBOSE,)), *own[-1:]]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)


class Group(click.Group):
    """A group that may load its commands only when one is used."""

    examples: Sequence[str] = ()
    lazy: Mapping[str, tuple[str, str]] = {}
    """Command name to (`module:attribute` in this folder, line in the group's help)."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options, then the shared ones."""
        own = super().get_params(ctx)
        return [*own[:-1], *SHARED, *own[-1:]]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which they were declared."""
        return [*self.lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now if it has to be."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        loaded = getattr(importlib.import_module(f".{module}", __package__), attribute)
        assert isinstance(loaded, click.Command), f"{module}:{attribute} is no command"
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the line names; suggest one when there is none."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from difflib import get_close_matches  # an error path alone needs it

            close = get_close_matches(name, self.list_commands(ctx), n=1)
            suggestion = f"did you mean {close[0]!r}?" if close else "there are " + ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"no command {name!r}: {suggestion}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing the lazy ones."""
        rows = [(name, line) for name, (_, line) in self.lazy.items()]
        rows += [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """The last section of a help page: lines to paste into a shell."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def command(name: str, *, examples: Sequence[str], remote: bool = True) -> Callable[[Callable[..., None]], Command]:
    """Declare a command; its docstring is its help."""

    def declare(function: Callable[..., None]) -> Command:
        made = click.command(name, cls=Command)(function)
        made.examples = examples
        made.remote = remote
        return made

    return declare


def group(name: str, *, examples: Sequence[str]) -> Callable[[Callable[..., None]], Group]:
    """Declare a group; its docstring is its help."""

    def declare(function: Callable[..., None]) -> Group:
        made = click.group(name, cls=Group)(function)
        made.examples = examples
        return made

    return declare
