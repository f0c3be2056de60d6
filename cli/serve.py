"""`tidelog serve`: the process around a broker. The only file of the command line that knows the broker.

It reads the configuration's files, chooses the event loop, owns the signals and prints the one line that says where to
connect. Everything else is the broker's own: nothing below this file learns of a terminal, a signal or uvloop.
"""

import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from .. import __version__
from ..broker.config import BrokerConfig, ConfigError
from ..broker.environment import RealEnvironment
from ..broker.server import Server
from .commands import Settings, command
from .errors import Code, CommandFailed

logger = logging.getLogger(__name__)


@command(
    "serve",
    examples=(
        "tidelog serve",
        "tidelog serve --listen 127.0.0.1:0 --http off --data-dir ./orders-data",
        "tidelog serve --set log.segment.bytes=64MiB --set num.partitions=4 --check-config",
    ),
    remote=False,
)
@click.option("--listen", multiple=True, metavar="HOST:PORT[@ADVERTISED]", help="Where clients connect; repeatable.")
@click.option("--http", metavar="HOST:PORT", help="Where metrics and health are served; off for nowhere.")
@click.option(
    "--data-dir", metavar="DIR", help="Where everything is kept.  [default: $STATE_DIRECTORY or ./tidelog-data]"
)
@click.option(
    "-f",
    "--config-file",
    "config_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML file of settings; repeatable, the later one wins.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting; repeatable.")
@click.option("--check-config", is_flag=True, help="Check the settings, print those that are set, and end.")
@click.pass_obj
def serve(
    settings: Settings,
    /,
    *,
    listen: Sequence[str],
    http: str | None,
    data_dir: str | None,
    config_files: Sequence[Path],
    overrides: Sequence[str],
    check_config: bool,
) -> None:
    """Run the broker until SIGTERM or Ctrl-C, which stop it gracefully; a second one stops it at once.

    Kafka's protocol and tidelog's own share each listener. Settings come from files, then TIDELOG_CONFIG_… in the
    environment, then --set; the options above stand for the settings listeners, http.listen and data.dir.
    """
    named = {"listeners": ",".join(listen), "http.listen": http, "data.dir": data_dir}
    overrides = [*overrides, *(f"{name}={value}" for name, value in named.items() if value)]
    try:
        files = [(str(path), path.read_text(encoding="utf-8")) for path in config_files]
        config = BrokerConfig.load(files=files, environ=os.environ, overrides=overrides)
    except ConfigError as error:
        raise CommandFailed(Code.BAD_CONFIG, str(error), "tidelog serve --check-config tries settings out") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(Code.BAD_CONFIG, f"a configuration file cannot be read: {error}") from None
    if check_config:
        _print_settings(config)
        return
    _log_to_stderr(logging.DEBUG if settings.verbose else logging.INFO)
    _warn_of_open_listeners(config)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config))


class StopSignal:
    """SIGINT and SIGTERM: the first asks for a graceful end, the second does not ask."""

    def __init__(self, end_now: Callable[[int], object]) -> None:
        self._end_now = end_now
        self._asked = asyncio.Event()

    def arrived(self, number: int) -> None:
        """Handle one signal."""
        if self._asked.is_set():
            self._end_now(128 + number)
        self._asked.set()

    async def wait(self) -> None:
        """Return at the first signal."""
        await self._asked.wait()


async def _serve(config: BrokerConfig) -> None:
    """Start, say so, wait for a signal, stop."""
    _allow_many_files()
    server = Server(config, RealEnvironment())
    stop = StopSignal(os._exit)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.arrived, number)
    try:
        await server.start()
    except OSError as error:
        raise _cannot_start(error) from error
    except Exception as error:  # the root of the process: whatever it is, it ends with one line
        logger.debug("the broker cannot start", exc_info=error)
        hint = "tidelog log verify looks into a directory; another one is chosen with --data-dir"
        raise CommandFailed(Code.CANNOT_START, str(error), hint) from error
    # What start-up made lives as long as the process: take it out of every later collection. (The thresholds of the
    # collector were raised in `main`.)
    gc.collect()
    gc.freeze()
    click.echo(_ready_line(config, server))
    try:
        await stop.wait()
        logger.info("stopping")
    finally:
        await server.stop()


def _allow_many_files() -> None:
    """Raise the soft limit on descriptors to the hard one: logs and connections each take some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop; the standard one where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        logger.warning("uvloop is not installed: the standard event loop serves, at less than half the speed")
        return None
    return uvloop.new_event_loop


def _cannot_start(error: OSError) -> CommandFailed:
    if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) or (error.errno == errno.EACCES and not error.filename):
        return CommandFailed(Code.CANNOT_LISTEN, str(error), "choose another address with --listen or --http")
    if isinstance(error, socket.gaierror):
        text = f"the name of an address cannot be resolved: {error.strerror}"
        return CommandFailed(Code.CANNOT_LISTEN, text, "choose another address with --listen or --http")
    return CommandFailed(Code.CANNOT_START, str(error), "choose another directory with --data-dir")


def _ready_line(config: BrokerConfig, server: Server) -> str:
    """One line with addresses to paste."""
    kafka = ",".join(server.addresses)
    http = f"http http://{server.http_address}/metrics" if server.http_address else "http off"
    directory = config.data_dir if config.data_dir.startswith(("/", ".", "~")) else f"./{config.data_dir}"
    return f"tidelog {__version__} ready in {_age_ms():.0f} ms · kafka+tide {kafka} · {http} · data {directory}"


def _age_ms() -> float:
    """Milliseconds since the process was started, the interpreter's own start included."""
    try:
        started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return (time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")) * 1000
    except (OSError, AttributeError, IndexError, ValueError):
        return time.process_time() * 1000


def _print_settings(config: BrokerConfig) -> None:
    for name, origin in sorted(config.origins.items()):
        click.echo(f"{name}  ({origin.place})")
    count = len(config.origins)
    click.echo(f"the configuration is good: {count} setting{'' if count == 1 else 's'}, the rest are defaults")


def _log_to_stderr(level: int) -> None:
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _warn_of_open_listeners(config: BrokerConfig) -> None:
    """There is no authentication yet, so whoever can connect may do everything."""
    hosts = [(listener.host, listener.name) for listener in config.listeners]
    if config.http is not None:
        hosts.append((config.http.host, str(config.http)))
    for host, name in hosts:
        if not _is_loopback(host):
            logger.warning("listener=%s is reachable from other machines, and there is no authentication yet", name)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
