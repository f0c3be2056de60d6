"""What the group commands share: how a line names groups, topics and partitions, and the refusal of a group in use.

tidelog group describe billing        a group; Kafka's `--group billing` is understood as well
… -t orders -t clicks:0,1             a topic, some partitions of a topic
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import click

from ..client import GroupDescription
from .errors import Code, CommandFailed
from .output import plural

Decorated = TypeVar("Decorated", bound=Callable[..., None])

META = "tidelog.groups"


@dataclass(frozen=True, slots=True)
class Selection:
    """A topic, or some partitions of it."""

    topic: str
    partitions: frozenset[int] | None = None
    """None: all."""

    def has(self, topic: str, partition: int) -> bool:
        """Whether it is among them."""
        return topic == self.topic and (self.partitions is None or partition in self.partitions)


def parse_selection(value: object) -> Selection:
    """`TOPIC` or `TOPIC:0,1`; for click's `type=`."""
    if isinstance(value, Selection):
        return value
    topic, colon, numbers = str(value).partition(":")
    parts = numbers.split(",")
    if not topic or (colon and not all(part.isascii() and part.isdigit() for part in parts)):
        raise click.BadParameter(f"{value!r} is not TOPIC or TOPIC:0,1")
    return Selection(topic, frozenset(map(int, parts)) if colon else None)


def groups_named(
    metavar: str, *, at_least: int = 1, at_most: int | None = None, distinct: bool = True
) -> Callable[[Decorated], Decorated]:
    """The argument `names`; what stands behind Kafka's `--group`, which is understood as well, comes first."""

    def keep(context: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
        context.meta[META] = value

    def join(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
        names = (*context.meta.get(META, ()), *value)
        if distinct:
            names = tuple(dict.fromkeys(names))
        if len(names) < at_least:
            raise click.MissingParameter(ctx=context, param=parameter)
        if at_most is not None and len(names) > at_most:
            raise click.UsageError(f"one group at a time, not {' '.join(names)}", context)
        return names

    def decorate(function: Decorated) -> Decorated:
        function = click.argument("names", metavar=metavar, nargs=-1, callback=join)(function)
        return click.option("--group", hidden=True, multiple=True, is_eager=True, expose_value=False, callback=keep)(
            function
        )

    return decorate


def not_empty(described: GroupDescription, done: str) -> CommandFailed:
    """The refusal to touch a group in use."""
    count = len(described.members)
    return CommandFailed(
        Code.GROUP_NOT_EMPTY,
        f"group {described.group_id!r} is {described.state} with {count} member{plural(count)}:"
        f" it can be {done} when it has none",
        f"stop its consumers first; tidelog group describe {described.group_id} -m shows them",
    )
