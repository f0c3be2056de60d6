"""Where `produce` gets its records: a file or stdin, read in chunks and cut at a delimiter, never blocking the loop.

A pipe or a terminal is read when it has something, so that records go out as they come in. It is not made non-blocking:
the flag would belong to the terminal, and with it to the shell. A regular file is always readable and simply read.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from typing import BinaryIO

CHUNK_SIZE = 1 << 18
RECORD_SIZE_MAX = 1 << 26
"""What a record may take before its end is seen; a file without delimiters must not be read into memory whole."""


class RecordTooLong(Exception):
    """No delimiter came within the limit."""


async def read_records(stream: BinaryIO, end: bytes, *, size_max: int = RECORD_SIZE_MAX) -> AsyncIterator[list[bytes]]:
    """The stream's records, as many at a time as a chunk completes; what follows the last delimiter is one too."""
    rest: list[bytes] = []
    rest_size = 0
    async for chunk in _chunks(stream):
        rest.append(chunk)
        rest_size += len(chunk)
        # A delimiter of several bytes may lie across two chunks; of a single one the chunk alone decides.
        if end in chunk or (len(end) > 1 and len(rest) > 1):
            records = b"".join(rest).split(end)
            rest = [records.pop()]
            rest_size = len(rest[0])
            if records:
                yield records
        if rest_size > size_max:
            raise RecordTooLong(f"a record has no end within {size_max:,} bytes")
    last = b"".join(rest)
    if last:
        yield [last]


def size_of(stream: BinaryIO) -> int | None:
    """Bytes to come, where that is known: for a regular file."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


async def _chunks(stream: BinaryIO) -> AsyncIterator[bytes]:
    """Bytes as they come."""
    waits = True
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        # Not a file of the operating system's: bytes in memory.
        while chunk := stream.read(CHUNK_SIZE):
            yield chunk
        return
    while True:
        if waits:
            waits = await _readable(descriptor)
        else:
            await asyncio.sleep(0)
        chunk = os.read(descriptor, CHUNK_SIZE)
        if not chunk:
            return
        yield chunk


async def _readable(descriptor: int) -> bool:
    """Wait until there is something to read; False for a file that is always readable."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:
        return False
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    return True
