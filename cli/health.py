"""Asks the broker's HTTP side whether it lives or is ready. Used as a container's health check, so it stays tiny.

Neither click nor the client library is imported here: the process starts, asks one question and ends.
"""

import http.client
import json
from collections.abc import Mapping, Sequence

from .errors import Code, CommandFailed

ADDRESS = "127.0.0.1:9192"
TIMEOUT_SECONDS = 5.0
BODY_SIZE_MAX = 1 << 16


def ask(address: str, *, ready: bool, timeout: float = TIMEOUT_SECONDS) -> str:
    """The word the broker deserves: `live`, or `ready` when that was asked. Raises CommandFailed otherwise."""
    host, port = split(address)
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/ready" if ready else "/live")
        response = connection.getresponse()
        body = response.read(BODY_SIZE_MAX)
    except TimeoutError:
        raise CommandFailed(Code.TIMED_OUT, f"{address} did not answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CommandFailed(
            Code.UNREACHABLE, f"no broker at http://{address} ({reason})", "name the HTTP address with --http"
        ) from None
    finally:
        connection.close()
    if response.status == http.client.OK:
        return "ready" if ready else "live"
    raise CommandFailed(Code.NOT_READY, f"{address} answers {response.status}: {_reasons(body)}")


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[v6]:port` or an http URL."""
    place = address.removeprefix("http://").rstrip("/")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise CommandFailed(Code.USAGE, f"{address!r} is not HOST:PORT", f"--http {ADDRESS}")
    return host.strip("[]"), int(port)


def quick(arguments: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Answer the plain spellings without an option parser; None leaves the line to the real one."""
    address = environ.get("TIDELOG_HTTP", ADDRESS)
    ready = False
    rest = iter(arguments)
    for argument in rest:
        if argument == "--ready":
            ready = True
        elif argument == "--http" and (value := next(rest, None)):
            address = value
        else:
            return None
    return ask(address, ready=ready)


def _reasons(body: bytes) -> str:
    """What the broker says about itself, whatever shape the answer has."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip() or "no reason given"
    if isinstance(answer, dict):
        answer = answer.get("reasons") or answer.get("reason") or answer.get("status") or answer
    return ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer)
