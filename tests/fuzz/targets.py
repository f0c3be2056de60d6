"""What is fuzzed byte by byte, guided by coverage: every decoder that sees bytes from outside.

A target takes bytes. It raises what a defect raises, and nothing for bytes that are refused as they should be: by
`ProtocolError` or `RequestRefused`. What decodes is encoded again and decoded once more: nothing may have changed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from tidelog.broker.topics.produced_batch import admit
from tidelog.protocol import batch as batches
from tidelog.protocol.apis import KAFKA_APIS, Api
from tidelog.protocol.compression import Codec, decompress
from tidelog.protocol.errors import ProtocolError, RequestRefused
from tidelog.protocol.framing import LENGTH_SIZE, OWN_SIZE_MIN, FrameReader
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.primitives import Buffer
from tidelog.protocol.records import iterate
from tidelog.protocol.tide_wire import TideWire
from tidelog.protocol.wire import RequestHeader, Wire
from tidelog.storage.config import LogConfig

Target = Callable[[bytes], None]

KAFKA, TIDE = KafkaWire(), TideWire()
INFLATED_SIZE_MAX = 1 << 20
FRAME_SIZE_MAX = 1 << 16
READS_MAX = 24
NOW_MS = 1_700_000_000_000
DEMANDING = LogConfig().with_overrides(
    {"compression.type": "gzip", "message.timestamp.before.max.ms": "1000", "max.message.bytes": "100000"}
)
REFUSED = (ProtocolError, RequestRefused)

SPOKEN: Sequence[tuple[Api, int]] = [
    (api, version) for api in KAFKA_APIS.values() for version in range(api.versions.min, api.versions.max + 1)
]


def frames(data: bytes) -> None:
    """The frame reader: cut anyhow into reads, the same frames come out, and a length allocates nothing."""
    if not data:
        return
    step, data = max(data[0] + 1, len(data) // READS_MAX), data[1:]
    reader = FrameReader(bytearray(OWN_SIZE_MIN), frame_size_max=FRAME_SIZE_MAX)
    found: list[bytes] = []
    position = 0
    try:
        while position < len(data):
            buffer = reader.get_buffer()
            size = min(len(buffer), step, len(data) - position)
            assert size > 0
            buffer[:size] = data[position : position + size]
            position += size
            reader.received(size)
            while (frame := reader.next_frame()) is not None:
                found.append(bytes(frame))
            reader.release()
            assert reader.allocated <= max(OWN_SIZE_MIN, 2 * reader.held), "memory for bytes that have not come"
    except ProtocolError:
        position = -1
    expected, rest = _cut(data)
    assert found == expected
    assert position == -1 or reader.held == len(rest)


def _cut(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames up to the first length that is none, the simple way."""
    found = []
    while len(data) >= LENGTH_SIZE:
        [size] = struct.unpack_from(">i", data)
        if not LENGTH_SIZE <= size <= FRAME_SIZE_MAX or len(data) < LENGTH_SIZE + size:
            break
        found.append(data[LENGTH_SIZE : LENGTH_SIZE + size])
        data = data[LENGTH_SIZE + size :]
    return found, data


def kafka_request(data: bytes) -> None:
    """A request as the broker reads it."""
    _request(KAFKA, data)


def tide_request(data: bytes) -> None:
    """A request on the tide wire, msgpack and all."""
    _request(TIDE, data)


def _request(wire: Wire, data: bytes) -> None:
    try:
        request = wire.decode_request(memoryview(bytearray(data)))
    except REFUSED:
        return
    written = _joined(wire.encode_request(request.header, request.body))
    again = wire.decode_request(memoryview(bytearray(written))[LENGTH_SIZE:])
    assert again.header == request.header
    # Not the messages: a NaN is not equal to itself.
    assert _joined(wire.encode_request(again.header, again.body)) == written


def kafka_response(data: bytes) -> None:
    """A response as the client reads it; the first byte says to which request."""
    _response(KAFKA, data)


def tide_response(data: bytes) -> None:
    """A response on the tide wire."""
    _response(TIDE, data)


def _response(wire: Wire, data: bytes) -> None:
    if len(data) < 2:
        return
    api, version = SPOKEN[int.from_bytes(data[:2], "big") % len(SPOKEN)]
    frame = memoryview(bytearray(data[2:]))
    try:
        header = RequestHeader(
            api=api,
            version=api.versions.max if wire is TIDE else version,
            correlation_id=wire.correlation_id(frame),
            client_id=None,
        )
        response = wire.decode_response(header, frame)
    except REFUSED:
        return
    written = _joined(wire.encode_response(header, response))
    if api.name == "ApiVersions":
        return  # what is read as of version 0 (KIP-511) is written as of the version that was asked for
    again = wire.decode_response(header, memoryview(bytearray(written))[LENGTH_SIZE:])
    assert _joined(wire.encode_response(header, again)) == written


def batch(data: bytes) -> None:
    """Batches as the broker admits them, with a look at the records where a topic asks for one, and stamps them."""
    buffer = memoryview(bytearray(data))
    try:
        for position, header in batches.walk(buffer):
            assert 0 <= position < position + header.size <= len(buffer)
            batches.check(buffer, position)
    except ProtocolError:
        pass
    for config in (DEMANDING, LogConfig()):
        try:
            admitted, header = admit(buffer, config, now_ms=NOW_MS)
        except REFUSED:
            continue
        assert header.size == len(admitted)
        batches.restamp(admitted, 0, base_offset=1 << 40, leader_epoch=7)
        assert batches.check(admitted).base_offset == 1 << 40
        batches.restamp(admitted, 0, base_offset=0, leader_epoch=7)


def records(data: bytes) -> None:
    """Records behind a header that is true: count and attributes are the first four bytes."""
    if len(data) < 4:
        return
    count, attributes = struct.unpack_from(">Hh", data)
    body = data[4:]
    buffer = bytearray(batches.HEADER_SIZE) + body
    header = batches.BatchHeader._make((0,) * len(batches.BatchHeader._fields))
    header = header._replace(
        batch_length=len(buffer) - batches.LENGTH_END,
        magic=batches.MAGIC,
        attributes=attributes,
        last_offset_delta=max(0, count - 1),
        record_count=count,
    )
    batches.write_header(buffer, 0, header)
    try:
        found = list(iterate(buffer, inflated_size_max=INFLATED_SIZE_MAX))
    except ProtocolError:
        return
    assert len(found) == count
    assert sorted({record.offset for record in found}) == [record.offset for record in found]


def gzip(data: bytes) -> None:
    """gzip."""
    _inflate(Codec.GZIP, data)


def snappy(data: bytes) -> None:
    """snappy, raw and in Java's stream."""
    _inflate(Codec.SNAPPY, data)


def lz4(data: bytes) -> None:
    """LZ4 frames."""
    _inflate(Codec.LZ4, data)


def zstd(data: bytes) -> None:
    """zstd."""
    _inflate(Codec.ZSTD, data)


def _inflate(codec: Codec, data: bytes) -> None:
    try:
        inflated = decompress(codec, data, INFLATED_SIZE_MAX)
    except ProtocolError:
        return
    assert len(inflated) <= INFLATED_SIZE_MAX


def _joined(buffers: Sequence[Buffer]) -> bytes:
    return b"".join(buffers)


TARGETS: Mapping[str, Target] = {
    target.__name__: target
    for target in (
        frames,
        kafka_request,
        kafka_response,
        tide_request,
        tide_response,
        batch,
        records,
        gzip,
        snappy,
        lz4,
        zstd,
    )
}
