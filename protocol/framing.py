"""Frames out of a byte stream: a big-endian length of 4 bytes, then as many bytes of frame.

A reader does no I/O: its owner asks it where the next bytes go, receives them there, and takes the frames. While no
frame is incomplete they go into one buffer that all connections of a loop share, and frames are views of it, never
copied. What is left of it at the end of a socket read moves into a buffer of the reader's own, which grows as bytes
come in up to exactly the size of the frame that is incomplete, so that the next read ends where the frame ends and
the shared buffer is used again.

Whoever keeps a budget looks at `wanted` before the release, says whether the buffer may grow to that, and reads no
more until `grow` was called: the room is there then, and the next read allocates nothing.

Invariants: `_start <= _end`, the bytes between them are not consumed yet; outside of a socket read they lie in the own
buffer. The own buffer is at most twice as large as the bytes that were in it when it was made, or 4 KiB: a length
alone allocates nothing. It is replaced, never resized, for views of it may be in use.
"""

from __future__ import annotations

import struct
from typing import Final, NoReturn

from .errors import FrameTooLarge, MalformedMessage

LENGTH_SIZE: Final = 4
FRAME_SIZE_MIN: Final = 4
"""A request or response of any wire has at least its correlation id, or the length of its header."""
OWN_SIZE_MIN: Final = 4 << 10

_LENGTH = struct.Struct(">i")


class FrameReader:
    """One connection's incoming bytes, cut into frames.

    One socket read is: `get_buffer`, `received`, `next_frame` as often as it returns one, `release`. The caller may
    stop taking frames at any time: they are held, and `next_frame` goes on with them later without a further read.
    """

    __slots__ = ("_end", "_own", "_shared", "_start", "_view", "claimed", "frame_size_max")

    def __init__(self, shared: bytearray | memoryview, *, frame_size_max: int) -> None:
        """Readers that are given one view share it; a view of its own is worth saving where there are ten thousand."""
        assert len(shared) >= OWN_SIZE_MIN
        self.frame_size_max = frame_size_max
        """Larger ones are refused from now on. May be changed between frames."""
        self.claimed = 0
        """The size of the frame that `next_frame` found incomplete; 0 when it found none, or no length yet."""
        self._shared = shared if isinstance(shared, memoryview) else memoryview(shared)
        self._own: bytearray | None = None
        self._view = self._shared
        self._start = 0
        self._end = 0

    @property
    def held(self) -> int:
        """Bytes in the own buffer that are not consumed yet."""
        return 0 if self._own is None else self._end - self._start

    @property
    def allocated(self) -> int:
        """Size of the own buffer; 0 while the shared one is enough."""
        return 0 if self._own is None else len(self._own)

    @property
    def wanted(self) -> int:
        """The size that the own buffer should have for the next read; 0 if there is nothing to keep."""
        if self._start == self._end:
            return 0
        if self._own is not None and self._end < len(self._own):
            return len(self._own)
        return self._room_wanted()

    def get_buffer(self) -> memoryview:
        """Where the next bytes are to be received; never empty."""
        if self._own is None:
            assert self._end == 0, "the bytes received before were not released"
            return self._shared
        if self._end == len(self._own):
            self.grow()
        return self._view[self._end :]

    def grow(self) -> None:
        """Enlarge the own buffer to what is wanted."""
        if self._own is not None and self._end == len(self._own):
            self._move(self._room_wanted())

    def make_room(self, size: int) -> None:
        """Enlarge the own buffer, if it is full, by so much and no more."""
        if self._own is not None and self._end == len(self._own):
            held = self._end - self._start
            self._move(held + min(size, self._end_of_incomplete_frame() - self._end))

    def received(self, size: int) -> None:
        """`size` bytes were put into what `get_buffer` returned."""
        self._end += size
        assert self._end <= len(self._view)

    def peek(self, size: int) -> bytes | None:
        """The next `size` bytes, which stay; None if so many have not arrived."""
        if self._end - self._start < size:
            return None
        return bytes(self._view[self._start : self._start + size])

    def skip(self, size: int) -> None:
        """Consume `size` bytes that are no frame."""
        assert self._end - self._start >= size
        self._start += size

    def drop(self) -> None:
        """Consume all that is there: nobody will want it."""
        self._start = self._end

    def next_frame(self) -> memoryview | None:
        """The next whole frame without its length: a writable view, valid until `release`. None if there is none.

        `MalformedMessage` or `FrameTooLarge` as soon as a length is there that cannot be accepted.
        """
        start = self._start
        if self._end - start < LENGTH_SIZE:
            self.claimed = 0
            return None
        size: int = _LENGTH.unpack_from(self._view, start)[0]
        if not FRAME_SIZE_MIN <= size <= self.frame_size_max:
            self._refuse(size)
        start += LENGTH_SIZE
        stop = start + size
        if stop > self._end:
            self.claimed = size
            return None
        self._start = stop
        return self._view[start:stop]

    def release(self, *, may_grow: bool = True) -> None:
        """End of a socket read, or of taking held frames: the shared buffer, and all frames, are given up.

        What is not consumed is kept in the own buffer, with room for more if it may grow; with nothing to keep, that
        is freed.
        """
        size = self._end - self._start
        if size == 0:
            self._own, self._view = None, self._shared
            self._start = self._end = 0
        elif self._own is None:
            self._move(self._room_wanted() if may_grow else size)
        elif len(self._own) > OWN_SIZE_MIN and size < len(self._own) // 4:
            # Not at every release: taking many held frames one by one would copy the rest as often.
            self._move(size)

    def _room_wanted(self) -> int:
        """Up to the end of the frame that is incomplete, as far as the bytes received allow it."""
        size = self._end - self._start
        return max(size, min(self._end_of_incomplete_frame() - self._start, max(OWN_SIZE_MIN, 2 * size)))

    def _move(self, room: int) -> None:
        """Move what is not consumed to a new own buffer of this size."""
        size = self._end - self._start
        own = bytearray(room)
        view = memoryview(own)
        view[:size] = self._view[self._start : self._end]
        self._own, self._view = own, view
        self._start, self._end = 0, size

    def _end_of_incomplete_frame(self) -> int:
        """Where the first frame ends that is not whole, as far as its length is known; beyond `_end` in any case."""
        position = self._start
        while self._end - position >= LENGTH_SIZE:
            size: int = _LENGTH.unpack_from(self._view, position)[0]
            if not FRAME_SIZE_MIN <= size <= self.frame_size_max:
                # The caller has not come so far yet; `next_frame` will refuse it.
                return self._end + OWN_SIZE_MIN
            position += LENGTH_SIZE + size
            if position > self._end:
                return position
        return position + LENGTH_SIZE

    def _refuse(self, size: int) -> NoReturn:
        if size > self.frame_size_max:
            raise FrameTooLarge(f"a frame of {size} bytes, at most {self.frame_size_max} are taken")
        raise MalformedMessage(f"a frame of {size} bytes, at least {FRAME_SIZE_MIN} are needed")
