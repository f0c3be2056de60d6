"""Frames come out of a stream whole and in order, however the stream is cut, and a length alone costs no memory."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.protocol.errors import FrameTooLarge, MalformedMessage
from tidelog.protocol.framing import FRAME_SIZE_MIN, OWN_SIZE_MIN, FrameReader

SHARED_SIZE = OWN_SIZE_MIN
MIB = 1 << 20


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(frame)) + frame for frame in frames)


def some_frame(index: int, size: int) -> bytes:
    """Four bytes that name it, then a pattern in which a shifted byte would show."""
    return struct.pack(">i", index) + bytes((index + position) & 0xFF for position in range(size - 4))


def a_reader(shared_size: int = SHARED_SIZE, *, frame_size_max: int = 100 * MIB) -> tuple[FrameReader, bytearray]:
    shared = bytearray(shared_size)
    return FrameReader(shared, frame_size_max=frame_size_max), shared


def feed(reader: FrameReader, data: bytes) -> int:
    """One receive of as much of `data` as there is room for."""
    buffer = reader.get_buffer()
    size = min(len(buffer), len(data))
    assert len(buffer) > 0, "asyncio refuses an empty buffer"
    buffer[:size] = data[:size]
    reader.received(size)
    return size


def take(reader: FrameReader, count: int = 1 << 30) -> list[bytes]:
    """Up to `count` frames, copied, as they are only valid until the release."""
    frames: list[bytes] = []
    while len(frames) < count and (frame := reader.next_frame()) is not None:
        frames.append(bytes(frame))
    return frames


FRAME_SIZES = st.integers(FRAME_SIZE_MIN, 40) | st.integers(FRAME_SIZE_MIN, 3 * SHARED_SIZE)


@given(
    sizes=st.lists(FRAME_SIZES, max_size=30),
    reads=st.lists(st.integers(1, 60) | st.integers(1, 2 * SHARED_SIZE), min_size=1, max_size=20),
    takes=st.lists(st.sampled_from([0, 1, 2, 5, 1 << 30]), min_size=1, max_size=10),
)
def test_the_same_frames_come_out_however_the_stream_is_cut(
    sizes: list[int], reads: list[int], takes: list[int]
) -> None:
    """The caller may stop taking frames at any time, and go on later with or without a further read."""
    reader, shared = a_reader()
    frames = [some_frame(index, size) for index, size in enumerate(sizes)]
    stream = framed(*frames)
    found: list[bytes] = []
    step = 0
    while stream:
        size = feed(reader, stream[: reads[step % len(reads)]])
        stream = stream[size:]
        for count in (takes[step % len(takes)], takes[(step * 7 + 3) % len(takes)]):
            found += take(reader, count)
            reader.release()
            # From here on the buffer is another connection's.
            shared[:] = b"\xaa" * len(shared)
        assert found == frames[: len(found)]
        assert reader.allocated <= max(OWN_SIZE_MIN, 4 * reader.held)
        step += 1
    while (more := take(reader, 3)) or reader.held:
        found += more
        reader.release()
    assert found == frames
    assert (reader.held, reader.allocated) == (0, 0)


@given(size=FRAME_SIZES, cut=st.integers(1, 200))
def test_a_large_frame_arrives_alone_in_a_buffer_of_its_size(size: int, cut: int) -> None:
    """The last read for it ends where it ends, so that the next one uses the shared buffer again."""
    reader, _ = a_reader()
    stream = framed(some_frame(1, size), some_frame(2, 20))
    while stream:
        stream = stream[feed(reader, stream[: cut * 50]) :]
        if frames := take(reader):
            break
        reader.release()
    else:
        pytest.fail("no frame came")
    assert frames[0] == some_frame(1, size)
    if size > 2 * SHARED_SIZE:
        assert reader.allocated == 4 + size
        assert len(stream) == 24
        reader.release()
        assert reader.allocated == 0


def test_frames_in_the_shared_buffer_are_not_copied() -> None:
    reader, shared = a_reader()
    feed(reader, framed(b"first", b"second") + b"\x00\x00")
    first, second = reader.next_frame(), reader.next_frame()
    assert first is not None
    assert second is not None
    assert first.obj is shared
    assert second.obj is shared
    assert (bytes(first), bytes(second)) == (b"first", b"second")
    first[0:1] = b"F"
    assert shared[4:9] == b"First", "writable: a base offset is stamped in place"
    assert reader.next_frame() is None
    assert reader.allocated == 0, "nothing is copied before the release"


def test_what_is_left_of_a_read_moves_out_of_the_shared_buffer() -> None:
    reader, shared = a_reader()
    data = framed(b"first", b"second")
    feed(reader, data[:-2])
    assert take(reader) == [b"first"]
    reader.release()
    shared[:] = bytes(len(shared))
    assert reader.held == len(framed(b"second")) - 2
    assert len(reader.get_buffer()) == 2
    feed(reader, data[-2:])
    assert take(reader) == [b"second"]
    reader.release()
    assert reader.get_buffer().obj is shared


def test_a_frame_from_the_own_buffer_is_not_copied_either_and_outlives_the_next_receive() -> None:
    reader, shared = a_reader()
    data = framed(b"x" * 5000)
    while data:
        data = data[feed(reader, data) :]
        frame = reader.next_frame()
        if frame is None:
            reader.release()
    assert frame is not None
    assert frame.obj is not shared
    assert bytes(frame) == b"x" * 5000
    feed(reader, framed(b"next"))
    assert bytes(frame) == b"x" * 5000


def test_frames_can_be_taken_later_without_a_further_read() -> None:
    """Backpressure: the caller stops in the middle of what one read brought."""
    reader, shared = a_reader()
    frames = [some_frame(index, 30) for index in range(100)]
    feed(reader, framed(*frames))
    found = take(reader, 1)
    reader.release()
    shared[:] = bytes(len(shared))
    assert reader.held == 99 * 34
    while more := take(reader, 1):
        found += more
        reader.release()
    assert found == frames
    assert reader.held == 0


def test_held_frames_are_not_moved_each_time_one_is_taken() -> None:
    reader, _ = a_reader(256 << 10)
    feed(reader, framed(*[b"frame"] * 29_000))
    reader.release()
    moves, last = 0, None
    while (frame := reader.next_frame()) is not None:
        moves += frame.obj is not last
        last = frame.obj
        reader.release()
    assert moves <= 10


def test_a_read_may_come_while_whole_frames_are_held() -> None:
    reader, _ = a_reader()
    feed(reader, framed(b"first", b"second"))
    reader.release()
    data = framed(b"third", b"fourth")
    while data:
        data = data[feed(reader, data) :]
        reader.release()
    assert take(reader) == [b"first", b"second", b"third", b"fourth"]


def test_a_claimed_length_allocates_nothing() -> None:
    reader, _ = a_reader()
    tracemalloc.start()
    try:
        feed(reader, struct.pack(">i", 100 * MIB) + b"123456")
        assert reader.next_frame() is None
        reader.release()
        reader.get_buffer()
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()
    assert reader.held == 10
    assert reader.allocated <= OWN_SIZE_MIN


def test_memory_grows_with_the_bytes_that_arrive_up_to_the_exact_frame() -> None:
    reader, _ = a_reader()
    size = 3 * MIB
    stream = memoryview(framed(bytes(size)) + b"next")
    position, sizes = 0, set()
    while position < size + 4:
        position += feed(reader, bytes(stream[position : position + 1000]))
        assert reader.next_frame() is None or position == size + 4
        reader.release()
        assert reader.allocated <= max(OWN_SIZE_MIN, 2 * position)
        assert reader.allocated <= size + 4
        sizes.add(reader.allocated)
    assert position == size + 4
    assert len(sizes) <= 12, "it doubles"
    assert reader.allocated == 0


def test_an_idle_connection_holds_no_buffer() -> None:
    reader, _ = a_reader()
    for _ in range(3):
        feed(reader, framed(b"a frame"))
        assert take(reader) == [b"a frame"]
        reader.release()
        assert (reader.held, reader.allocated) == (0, 0)


@pytest.mark.parametrize("size", [-(1 << 31), -1, 0, FRAME_SIZE_MIN - 1])
def test_a_length_less_than_any_frame_is_malformed(size: int) -> None:
    reader, _ = a_reader()
    feed(reader, struct.pack(">i", size))
    with pytest.raises(MalformedMessage, match=f"a frame of {size} bytes"):
        reader.next_frame()


def test_a_frame_above_the_limit_is_refused_as_soon_as_its_length_is_there() -> None:
    """Q-3."""
    reader, _ = a_reader(frame_size_max=1000)
    feed(reader, framed(bytes(1000)) + struct.pack(">i", 1001))
    assert take(reader, 1) == [bytes(1000)]
    with pytest.raises(FrameTooLarge, match="1001 bytes, at most 1000"):
        reader.next_frame()


def test_a_bad_length_behind_held_frames_is_refused_when_its_turn_comes() -> None:
    reader, _ = a_reader(frame_size_max=1000)
    feed(reader, framed(b"sound") + struct.pack(">i", -5))
    reader.release()
    assert feed(reader, b"more") == 4
    reader.release()
    assert take(reader, 1) == [b"sound"]
    with pytest.raises(MalformedMessage):
        reader.next_frame()


def test_a_peek_gets_what_it_asks_for_or_nothing() -> None:
    reader, _ = a_reader()
    assert reader.peek(1) is None
    feed(reader, b"abc")
    assert (reader.peek(2), reader.peek(3), reader.peek(4)) == (b"ab", b"abc", None)
    reader.skip(3)
    assert reader.peek(1) is None


def test_the_preface_is_looked_at_before_it_is_consumed() -> None:
    reader, _ = a_reader()
    feed(reader, b"TIDE")
    assert reader.peek(5) is None
    reader.release()
    feed(reader, b"\x01" + framed(b"frame"))
    while reader.held < 5 + 9:
        reader.release()
        feed(reader, (b"TIDE\x01" + framed(b"frame"))[reader.held :])
    assert reader.peek(5) == b"TIDE\x01"
    assert reader.peek(5) == b"TIDE\x01"
    reader.skip(5)
    assert take(reader) == [b"frame"]


@given(garbage=st.binary(max_size=300), cut=st.integers(1, 300))
def test_garbage_is_nothing_worse_than_a_protocol_error(garbage: bytes, cut: int) -> None:
    reader, _ = a_reader(frame_size_max=1000)
    try:
        while garbage:
            garbage = garbage[feed(reader, garbage[:cut]) :]
            assert sum(map(len, take(reader))) <= 300
            reader.release()
    except (FrameTooLarge, MalformedMessage):
        pass


# Under a budget


def test_what_a_read_left_over_is_kept_without_room_for_more_where_there_is_none() -> None:
    reader, shared = a_reader(64 << 10)
    stream = framed(some_frame(1, 30), some_frame(2, MIB))
    feed(reader, stream)
    assert len(take(reader)) == 1
    assert reader.claimed == MIB
    left = len(shared) - 34
    assert reader.wanted == 2 * left
    reader.release(may_grow=False)
    assert (reader.held, reader.allocated) == (left, left)
    assert reader.wanted == 2 * left
    reader.grow()
    assert (reader.allocated, reader.wanted) == (2 * left, 2 * left)
    rest = stream[len(shared) :]
    while not (frames := take(reader)):
        rest = rest[feed(reader, rest) :]
    assert frames == [some_frame(2, MIB)]


def test_room_can_be_made_for_a_little() -> None:
    reader, shared = a_reader(64 << 10)
    feed(reader, framed(some_frame(1, MIB)))
    assert take(reader) == []
    reader.release(may_grow=False)
    reader.make_room(100)
    assert reader.allocated == len(shared) + 100
    reader.make_room(100)
    assert reader.allocated == len(shared) + 100, "there is still some"
    assert len(reader.get_buffer()) == 100


def test_room_is_never_made_beyond_the_frame() -> None:
    reader, _ = a_reader()
    feed(reader, framed(some_frame(1, 5000)))
    reader.release(may_grow=False)
    reader.make_room(1 << 20)
    assert reader.allocated == 5004


def test_nothing_is_wanted_when_nothing_is_left() -> None:
    reader, _ = a_reader()
    assert reader.wanted == 0
    feed(reader, framed(b"whole"))
    take(reader)
    assert reader.wanted == 0


def test_what_nobody_wants_any_more_is_dropped() -> None:
    reader, _ = a_reader()
    feed(reader, framed(b"whole", b"one more"))
    reader.drop()
    reader.release()
    assert (reader.held, reader.allocated, reader.wanted) == (0, 0, 0)
    feed(reader, framed(b"next"))
    assert take(reader) == [b"next"]


def test_a_limit_can_be_lowered_and_raised_between_frames() -> None:
    """Until somebody has said who he is, for instance."""
    reader, _ = a_reader(frame_size_max=10)
    feed(reader, framed(b"ten bytes!", b"eleven byte"))
    assert reader.next_frame() is not None
    with pytest.raises(FrameTooLarge):
        reader.next_frame()
    reader.frame_size_max = 11
    assert reader.next_frame() is not None


def test_readers_may_share_one_view() -> None:
    view = memoryview(bytearray(SHARED_SIZE))
    readers = [FrameReader(view, frame_size_max=100) for _ in range(2)]
    for reader in readers:
        feed(reader, framed(b"alike"))
        assert take(reader) == [b"alike"]
        reader.release()
