"""A command's visit to the broker: opens a client, runs the work, and turns what went wrong into an exit code.

A person who mistyped an address should not wait for the client's patience to end, so the addresses are dialled once
first: when all of them refuse, the command fails at once.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from ..client import (
    Client,
    ConnectionLost,
    CorruptRecords,
    GroupNotEmpty,
    GroupNotFound,
    GroupsMissing,
    MessageTooLarge,
    OffsetOutOfRange,
    PartitionNotFound,
    TidelogError,
    TimedOut,
    TopicExists,
    TopicNotFound,
    connect,
)
from ..client.config import Address
from .commands import Settings
from .errors import Code, CommandFailed

ADDRESS_HINT = "is the broker running? name it with -s HOST:PORT or TIDELOG_SERVER"

CODES: Mapping[type[TidelogError], tuple[Code, str]] = {
    ConnectionLost: (Code.UNREACHABLE, ADDRESS_HINT),
    TimedOut: (Code.TIMED_OUT, "wait longer with --timeout"),
    TopicNotFound: (Code.TOPIC_NOT_FOUND, "tidelog topic ls shows those that exist"),
    TopicExists: (Code.TOPIC_EXISTS, "--if-not-exists accepts that"),
    PartitionNotFound: (Code.PARTITION_NOT_FOUND, "tidelog topic describe shows those that exist"),
    MessageTooLarge: (Code.RECORD_TOO_LARGE, "the topic's limit is max.message.bytes"),
    OffsetOutOfRange: (Code.OFFSET_OUT_OF_RANGE, "tidelog topic describe shows the offsets that exist"),
    GroupNotFound: (Code.GROUP_NOT_FOUND, "tidelog group ls shows those that exist"),
    GroupNotEmpty: (Code.GROUP_NOT_EMPTY, "stop its consumers first; tidelog group describe -m shows them"),
    GroupsMissing: (Code.GROUPS_MISSING, "the broker's log says why; tidelog log verify looks at the files"),
}
INVALID = frozenset(
    {
        "INVALID_CONFIG",
        "INVALID_PARTITIONS",
        "INVALID_REPLICATION_FACTOR",
        "INVALID_REQUEST",
        "INVALID_TOPIC_EXCEPTION",
        "POLICY_VIOLATION",
    }
)
"""Wire codes by which a broker finds fault with a topic's name or settings."""


def run(settings: Settings, work: Callable[[Client], Awaitable[None]]) -> None:
    """Open a client, do the work, close it. Raises CommandFailed."""
    if settings.verbose:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    asyncio.run(_visit(settings, work))


async def _visit(settings: Settings, work: Callable[[Client], Awaitable[None]]) -> None:
    try:
        opening = connect(settings.server, client_id="tidelog-cli", timeout=settings.timeout)
    except ValueError as error:
        raise CommandFailed(Code.USAGE, str(error), "-s HOST:PORT") from None
    await _dial(opening.config.servers, settings.timeout)
    try:
        async with opening as client:
            await work(client)
    except TidelogError as error:
        raise failure_of(error) from error


def failure_of(error: TidelogError) -> CommandFailed:
    """What the command says about a failure of the client's."""
    name = error.code.name if error.code is not None else ""
    if name.endswith(("AUTHORIZATION_FAILED", "AUTHENTICATION_FAILED")):
        return CommandFailed(Code.UNAUTHORISED, str(error))
    if isinstance(error, CorruptRecords):
        way_on = (
            f"-p {error.partition} -o {error.next_offset} goes on behind them" if error.next_offset is not None else ""
        )
        return CommandFailed(Code.CORRUPT_RECORDS, str(error), way_on)
    for kind, (code, hint) in CODES.items():
        if isinstance(error, kind):
            return CommandFailed(code, str(error), hint)
    return CommandFailed(Code.INVALID_TOPIC if name in INVALID else Code.REFUSED, str(error))


async def _dial(servers: Sequence[Address], timeout: float) -> None:
    """Fail at once when nobody listens at any of the addresses."""
    refusals = []
    for address in servers:
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(address.host, address.port)
        except TimeoutError:
            refusals.append(f"{address} (no answer within {timeout:g} s)")
        except OSError as error:
            # asyncio words a refusal around the address; the system's own word for it is shorter.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
            refusals.append(f"{address} ({reason})")
        else:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            return
    raise CommandFailed(Code.UNREACHABLE, f"cannot connect to {', '.join(refusals)}", ADDRESS_HINT)
