"""Record batches for tests: small, valid, with one thing different at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tidelog.protocol.batch import Buffer, read_header, walk, write_header
from tidelog.protocol.compression import Codec
from tidelog.protocol.records import Headers, Record, build_batch, iterate

BASE_TIMESTAMP = 1_700_000_000_000


def a_batch(
    values: Iterable[bytes | None] = (b"a value",),
    *,
    key: bytes | None = None,
    headers: Headers = (),
    codec: Codec = Codec.NONE,
    base_timestamp: int = BASE_TIMESTAMP,
    timestamp_step: int = 1,
    base_offset: int = 0,
    leader_epoch: int = -1,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    is_transactional: bool = False,
) -> bytearray:
    """A batch with a record for each value, `timestamp_step` ms apart; as a producer sends it unless told otherwise."""
    return build_batch(
        ((key, value, headers, base_timestamp + index * timestamp_step) for index, value in enumerate(values)),
        codec=codec,
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        is_transactional=is_transactional,
    )


def a_batch_of(count: int, *, size: int = 100, codec: Codec = Codec.NONE, base_offset: int = 0) -> bytearray:
    """A batch of `count` records whose values are `size` bytes long and tell them apart."""
    return a_batch((some_value(index, size) for index in range(count)), codec=codec, base_offset=base_offset)


def some_value(index: int, size: int = 100) -> bytes:
    """`size` bytes that name `index` at their beginning, as far as they reach."""
    return (b"value %d " % index).ljust(size, b".")[:size]


def batches(groups: Iterable[Sequence[bytes | None]], *, base_offset: int = 0, leader_epoch: int = 0) -> bytearray:
    """Batches in a row as a log holds them: one for each group of values, each where the one before it ends."""
    log = bytearray()
    for values in groups:
        log += a_batch(values, base_offset=base_offset, leader_epoch=leader_epoch)
        base_offset += len(values)
    return log


def with_header(batch: Buffer, **changes: int) -> bytearray:
    """A copy with these header fields changed; the checksum is true all the same, unless `crc` is among them."""
    changed = bytearray(batch)
    write_header(changed, 0, read_header(batch)._replace(**changes))
    if "crc" in changes:
        changed[17:21] = changes["crc"].to_bytes(4, "big")
    return changed


def records_of(buffer: Buffer) -> Iterator[Record]:
    """The records of all batches in `buffer`."""
    with memoryview(buffer) as whole:
        for position, header in walk(whole):
            yield from iterate(bytes(whole[position : position + header.size]))


def values_of(buffer: Buffer) -> list[bytes | None]:
    """The values of all records of all batches in `buffer`."""
    return [record.value for record in records_of(buffer)]
