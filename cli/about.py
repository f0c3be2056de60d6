"""`version` and `health` as commands: their help pages, and the spellings that the quick path leaves to click."""

import click

from .. import __version__
from . import health as probe
from .commands import command, duration


@command("version", examples=("tidelog version", "tidelog --version"), remote=False)
def version() -> None:
    """Print the version."""
    click.echo(f"tidelog {__version__}")


@command("health", examples=("tidelog health", "tidelog health --ready", "tidelog health --timeout 2s"), remote=False)
@click.option(
    "--http",
    "address",
    envvar="TIDELOG_HTTP",
    default=probe.ADDRESS,
    metavar="HOST:PORT",
    help=f"The broker's HTTP side.  [env: TIDELOG_HTTP; default: {probe.ADDRESS}]",
)
@click.option("--ready", is_flag=True, help="Ask whether it serves, not only whether it lives.")
@click.option("--timeout", type=duration, default=probe.TIMEOUT_SECONDS, help="How long to wait for the answer.")
def health(address: str, ready: bool, timeout: float) -> None:
    """Ask the broker's HTTP side whether it lives, or is ready.

    Prints `live` or `ready` and ends with 0; ends with 1 when the broker is not ready and with 6 when nobody answers.
    """
    click.echo(probe.ask(address, ready=ready, timeout=timeout))
