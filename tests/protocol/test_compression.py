"""Every codec in both directions, against other implementations' bytes, and against bytes that want to be too much."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
import zlib

import cramjam
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kafka import codec as kafka_codec

from tidelog.protocol.compression import XERIAL_BLOCK_SIZE, XERIAL_HEADER, Codec, compress, decompress
from tidelog.protocol.errors import DecompressionFailed, InflatedTooLarge, ProtocolError

REAL = [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]
MIB = 1 << 20
TEXT = b"".join(b'{"id": %d, "name": "event %d"}\n' % (index, index * 7919 % 997) for index in range(5000))


@pytest.mark.parametrize("codec", Codec)
@given(st.binary(max_size=5000))
@example(b"")
@example(b"x" * 100_000)
@example(TEXT)
@example(os.urandom(XERIAL_BLOCK_SIZE * 2 + 1))
def test_what_was_compressed_comes_back(codec: Codec, data: bytes) -> None:
    compressed = compress(codec, data)
    assert decompress(codec, compressed, len(data)) == data
    assert decompress(codec, memoryview(bytearray(compressed)), 1 << 30) == data
    assert compress(codec, memoryview(bytearray(data))) == compressed


@pytest.mark.parametrize(("codec", "levels"), [(Codec.GZIP, (1, 9)), (Codec.LZ4, (1, 12)), (Codec.ZSTD, (1, 19))])
def test_a_higher_level_compresses_more(codec: Codec, levels: tuple[int, int]) -> None:
    fast, small = (compress(codec, TEXT, level) for level in levels)
    assert len(small) < len(fast) < len(TEXT)
    assert decompress(codec, small, len(TEXT)) == TEXT


@pytest.mark.parametrize("codec", Codec)
@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_limit_below_the_size_is_kept(codec: Codec, data: bytes, draw: st.DataObject) -> None:
    limit = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(InflatedTooLarge, match=str(limit)):
        decompress(codec, compress(codec, data), limit)


@pytest.mark.parametrize("codec", REAL)
@given(st.lists(st.binary(max_size=300), min_size=2, max_size=5))
def test_frames_in_a_row_are_one_text(codec: Codec, parts: list[bytes]) -> None:
    data = b"".join(parts)
    frames = b"".join(compress(codec, part) for part in parts)
    assert decompress(codec, frames, len(data)) == data


@pytest.mark.parametrize("codec", [Codec.LZ4, Codec.ZSTD])
def test_skippable_frames_are_skipped(codec: Codec) -> None:
    skippable = struct.pack("<II", 0x184D2A50, 4) + b"note"
    frame = compress(codec, b"text")
    assert decompress(codec, skippable + frame + skippable + frame, 100) == b"texttext"


def test_raw_snappy_is_read_like_the_xerial_stream() -> None:
    """B-16: some clients send snappy without xerial's header."""
    assert decompress(Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(TEXT)), len(TEXT)) == TEXT


def test_snappy_is_written_as_a_xerial_stream_of_blocks_that_java_takes() -> None:
    stream = compress(Codec.SNAPPY, TEXT)
    assert stream[:16] == b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    position, inflated = 16, b""
    while position < len(stream):
        (size,) = struct.unpack_from(">i", stream, position)
        block = bytes(cramjam.snappy.decompress_raw(stream[position + 4 : position + 4 + size]))
        assert len(block) <= 32 << 10
        inflated += block
        position += 4 + size
    assert inflated == TEXT


def test_an_empty_xerial_block_is_nothing() -> None:
    block = bytes(cramjam.snappy.compress_raw(b""))
    framed = struct.pack(">i", len(block)) + block
    assert decompress(Codec.SNAPPY, XERIAL_HEADER + framed + framed, 0) == b""


@pytest.mark.parametrize(
    "stream",
    [
        XERIAL_HEADER[:8],
        XERIAL_HEADER[:15],
        XERIAL_HEADER + b"\x00",
        XERIAL_HEADER + struct.pack(">i", 0),
        XERIAL_HEADER + struct.pack(">i", -1),
        XERIAL_HEADER + struct.pack(">i", 5) + b"1234",
        XERIAL_HEADER + struct.pack(">i", (1 << 31) - 1) + b"1234",
        XERIAL_HEADER + struct.pack(">i", 4) + b"\xff\xff\xff\xff",
        XERIAL_HEADER + struct.pack(">i", 4) + bytes(cramjam.snappy.compress_raw(b"a")),
        b"",
    ],
)
def test_a_snappy_stream_that_lies_about_its_blocks_fails(stream: bytes) -> None:
    with pytest.raises(DecompressionFailed):
        decompress(Codec.SNAPPY, stream, 1000)


def test_lz4_frames_have_the_independent_blocks_that_java_demands() -> None:
    """Kafka's KafkaLZ4BlockInputStream refuses a frame without the flag; with more than one block it would matter."""
    frame = compress(Codec.LZ4, os.urandom(300_000))
    assert frame[:4] == b"\x04\x22\x4d\x18"
    version, is_independent = frame[4] >> 6, frame[4] >> 5 & 1
    assert (version, is_independent) == (1, 1)
    assert frame[4] & 0b11 == 0, "reserved bit and dictionary id"


def test_gzip_is_the_standard_librarys() -> None:
    assert gzip.decompress(compress(Codec.GZIP, TEXT)) == TEXT
    assert decompress(Codec.GZIP, gzip.compress(TEXT), len(TEXT)) == TEXT


ORACLES = [
    pytest.param(
        codec,
        encode,
        decode,
        marks=pytest.mark.skipif(not there(), reason=f"kafka-python lacks its library for {codec.name}"),
    )
    for codec, encode, decode, there in [
        (Codec.GZIP, kafka_codec.gzip_encode, kafka_codec.gzip_decode, kafka_codec.has_gzip),
        (Codec.SNAPPY, kafka_codec.snappy_encode, kafka_codec.snappy_decode, kafka_codec.has_snappy),
        (Codec.LZ4, kafka_codec.lz4_encode, kafka_codec.lz4_decode, kafka_codec.has_lz4),
        (Codec.ZSTD, kafka_codec.zstd_encode, kafka_codec.zstd_decode, kafka_codec.has_zstd),
    ]
]


@pytest.mark.parametrize(("codec", "encode", "decode"), ORACLES)
@pytest.mark.parametrize("data", [b"x", TEXT, os.urandom(200_000)], ids=["byte", "text", "random"])
def test_kafka_python_reads_ours_and_we_read_its(codec: Codec, encode: object, decode: object, data: bytes) -> None:
    assert callable(encode)
    assert callable(decode)
    assert bytes(decode(compress(codec, data))) == data
    assert decompress(codec, encode(data), len(data)) == data


def a_bomb(codec: Codec) -> bytes:
    """100 MiB of zeros, made without holding them."""
    zeros, rounds = bytes(MIB), 100
    if codec == Codec.GZIP:
        deflate = zlib.compressobj(9, wbits=31)
        return b"".join([*(deflate.compress(zeros) for _ in range(rounds)), deflate.flush()])
    if codec == Codec.SNAPPY:
        return XERIAL_HEADER + compress(codec, zeros)[len(XERIAL_HEADER) :] * rounds
    frame = cramjam.lz4.Compressor(level=1) if codec == Codec.LZ4 else cramjam.zstd.Compressor(level=1)
    for _ in range(rounds):
        frame.compress(zeros)
    return bytes(frame.finish())


BOMBS = [pytest.param(codec, a_bomb(codec), id=codec.name) for codec in REAL]


def resident_peak() -> int:
    """The most bytes of memory that this process has had."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


@pytest.mark.parametrize(("codec", "bomb"), [*BOMBS, pytest.param(Codec.SNAPPY, b"\x80\x80\x80\x32\x00", id="RAW")])
def test_a_bomb_is_refused_without_being_unpacked(codec: Codec, bomb: bytes) -> None:
    """Q-5: neither Python nor the codec's own allocator ever holds much more than the limit."""
    with pytest.raises(InflatedTooLarge):
        decompress(codec, bomb, MIB)
    resident_before = resident_peak()
    tracemalloc.start()
    try:
        with pytest.raises(InflatedTooLarge):
            decompress(codec, bomb, MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 3 * MIB
    assert resident_peak() - resident_before <= 16 * MIB


def lies(codec: Codec) -> list[bytes]:
    """Frames of a few hundred bytes that no output is large enough for."""
    frame = compress(codec, TEXT[:3000])
    found = [frame[:-1], frame[: len(frame) // 2], frame[:5], frame + b"garbage", b"\0" + frame, b"\xff" * 300]
    for position in range(0, len(frame), 7):
        damaged = bytearray(frame)
        damaged[position] ^= 0x55
        found.append(bytes(damaged))
    return found


@pytest.mark.parametrize("codec", REAL)
def test_a_lie_costs_no_more_memory_than_it_has_bytes(codec: Codec) -> None:
    """Whoever finds a record by its time looks into whatever a producer has sent, as often as anybody asks."""
    dear = []
    for lie in lies(codec):
        tracemalloc.start()
        try:
            decompress(codec, lie, 128 * MIB)
        except ProtocolError as error:
            if tracemalloc.get_traced_memory()[1] > MIB:
                dear.append(str(error))
        finally:
            tracemalloc.stop()
    # zstd alone may find its output too small where its input is damaged.
    assert set(dear) <= {"Destination buffer is too small"}
    assert len(dear) <= 3


def test_snappy_that_claims_more_than_the_format_can_do_is_refused_before_it_is_believed() -> None:
    best = bytes(cramjam.snappy.compress_raw(bytes(MIB)))
    assert decompress(Codec.SNAPPY, best, MIB) == bytes(MIB)
    claim = b"\x80\x80\x80\x32"
    with pytest.raises(DecompressionFailed, match="which snappy cannot do"):
        decompress(Codec.SNAPPY, claim + best[3:], 128 * MIB)


def test_a_zstd_frame_that_claims_a_huge_window_costs_no_memory() -> None:
    window_of_128_mib = b"\x28\xb5\x2f\xfd\x00\x88"
    block = (100 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"z"
    resident_before = resident_peak()
    assert decompress(Codec.ZSTD, window_of_128_mib + block, 1000) == b"z" * 100
    assert resident_peak() - resident_before <= 16 * MIB


@pytest.mark.parametrize(("codec", "bomb"), BOMBS)
def test_the_same_bytes_are_read_where_the_limit_allows_them(codec: Codec, bomb: bytes) -> None:
    assert decompress(codec, bomb, 100 * MIB) == bytes(100 * MIB)


@pytest.mark.parametrize("codec", [5, 6, 7, -1])
def test_an_unknown_codec_is_refused(codec: int) -> None:
    with pytest.raises(DecompressionFailed, match=str(codec)):
        decompress(codec, b"data", 100)


@pytest.mark.parametrize("codec", REAL)
@given(garbage=st.binary(max_size=300))
def test_garbage_is_nothing_worse_than_a_protocol_error(codec: Codec, garbage: bytes) -> None:
    try:
        assert len(decompress(codec, garbage, 10_000)) <= 10_000
    except ProtocolError:
        pass


@pytest.mark.parametrize("codec", REAL)
@given(
    damage=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
    size=st.integers(0, 1 << 20),
)
def test_damaged_frames_are_nothing_worse_than_a_protocol_error(
    codec: Codec, damage: list[tuple[int, int]], size: int
) -> None:
    frame = bytearray(compress(codec, TEXT[:3000]))
    for position, byte in damage:
        # Half of the damage goes to the frame's header, where the claims stand.
        frame[position % (24 if position & 1 else len(frame))] = byte
    try:
        assert len(decompress(codec, frame[: len(frame) - size % 7], 100_000)) <= 100_000
    except ProtocolError:
        pass


@pytest.mark.parametrize("codec", REAL)
def test_bytes_behind_the_frame_that_are_none_are_refused(codec: Codec) -> None:
    with pytest.raises(DecompressionFailed):
        decompress(codec, compress(codec, b"text") + b"\x01\x02\x03\x04\x05garbage", 1000)
