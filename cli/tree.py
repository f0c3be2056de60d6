"""The command tree: one row a command, each imported only when it is used."""

import click

from .. import __version__
from .commands import Group, group

EXAMPLES = (
    "tidelog topic create orders -p 4 --if-not-exists",
    "echo 'hello' | tidelog produce orders -k greeting",
    "tidelog consume orders -o beginning -e",
)


@group("tidelog", examples=EXAMPLES)
@click.version_option(__version__, message="tidelog %(version)s")
def root() -> None:
    """A log broker that speaks Kafka, and the tools to use it."""


assert isinstance(root, Group)
root.context_settings = {"auto_envvar_prefix": "TIDELOG", "help_option_names": ["-h", "--help"]}
root.lazy = {
    "serve": ("serve:serve", "Run the broker."),
    "topic": ("topics:topic", "List, describe, create and remove topics."),
    "group": ("groups:group_commands", "Look at consumer groups, their lag; move them."),
    "produce": ("produce:produce", "Send records from stdin, a file or the command line."),
    "consume": ("consume:consume", "Print a topic's records."),
    "log": ("log_files:log", "Look into log files, without a broker."),
    "health": ("about:health", "Ask whether the broker lives, or is ready."),
    "version": ("about:version", "Print the version."),
}
