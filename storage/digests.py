"""The digest of a sealed segment (`<base offset>.digest`): what its bytes were when every batch had been found sound.

A checksum of each block tells to 64 KiB where a segment has changed since, also where a batch's header is gone and
nobody could tell where the next one begins; the SHA-256 is the name of the whole.

    position  size  field
           0     2  version, i16: 1
           2     4  CRC-32C of everything behind it, u32
           6     8  base offset of the segment, i64
          14     8  offset behind its last batch, i64
          22     8  size of its `.log` file, i64
          30     8  when it was last read and found sound, i64: milliseconds since 1970
          38     4  size of a block, i32: 65,536
          42    32  SHA-256 of the `.log` file
          74  4 each  CRC-32C of each block, u32; the last block ends with the file

All big endian. It is derived: one that is missing, or cannot be read, or belongs to a file of another size is made
anew by whoever reads the segment next, and nothing is ever believed for its sake that the batches do not say
themselves. A segment that takes appends, or was cut, has none.
"""

import hashlib
import logging
import struct
from dataclasses import dataclass
from typing import Final

from crc32c import crc32c

from .checkpoint import read_file
from .disk import Disk
from .errors import CorruptLog, DiskFailed

SUFFIX: Final = ".digest"
VERSION: Final = 1
BLOCK_SIZE: Final = 64 * 1024

_CHECKED_FROM: Final = 6
_PREFIX = struct.Struct(">hI")
_FIELDS = struct.Struct(">qqqqi32s")
HEAD_SIZE: Final = _PREFIX.size + _FIELDS.size

assert _PREFIX.size == _CHECKED_FROM
assert HEAD_SIZE == 74

logger = logging.getLogger(__name__)


class BadDigest(Exception):
    """The bytes are no digest that can be read. It is to be made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What a sealed segment's file is."""

    base_offset: int
    next_offset: int
    size: int
    verified_ms: int
    """When all of it was last read and found sound."""
    sha256: bytes
    blocks: tuple[int, ...]
    """CRC-32C of each block."""

    def describes(self, base_offset: int, next_offset: int, size: int) -> bool:
        """Whether it is of a segment of these bounds; else it is of another one, and says nothing."""
        return (self.base_offset, self.next_offset, self.size) == (base_offset, next_offset, size)

    def encode(self) -> bytes:
        """The contents of the file."""
        assert len(self.blocks) == blocks_in(self.size)
        fields = _FIELDS.pack(
            *(self.base_offset, self.next_offset, self.size, self.verified_ms, BLOCK_SIZE, self.sha256)
        )
        rest = fields + struct.pack(f">{len(self.blocks)}I", *self.blocks)
        return _PREFIX.pack(VERSION, crc32c(rest)) + rest

    @classmethod
    def decode(cls, data: bytes) -> "Digest":
        """The digest in a file's contents; `BadDigest`."""
        if len(data) < HEAD_SIZE:
            raise BadDigest(f"{len(data)} bytes are no digest")
        version, crc = _PREFIX.unpack_from(data)
        if version != VERSION:
            raise BadDigest(f"version {version} is unknown")
        if crc != crc32c(memoryview(data)[_CHECKED_FROM:]):
            raise BadDigest("the checksum does not hold")
        base_offset, next_offset, size, verified_ms, block_size, sha256 = _FIELDS.unpack_from(data, _CHECKED_FROM)
        if block_size != BLOCK_SIZE or size < 0 or len(data) - HEAD_SIZE != 4 * blocks_in(size):
            raise BadDigest(f"{len(data) - HEAD_SIZE} bytes of checksums are not those of a file of {size}")
        blocks = struct.unpack_from(f">{blocks_in(size)}I", data, HEAD_SIZE)
        return cls(
            base_offset=base_offset,
            next_offset=next_offset,
            size=size,
            verified_ms=verified_ms,
            sha256=sha256,
            blocks=blocks,
        )


class Digester:
    """Makes the digest of a file from its bytes, which come in order."""

    def __init__(self) -> None:
        self.position = 0
        """How many bytes have come."""
        self.blocks: list[int] = []
        """Of every block that is whole."""
        self._block_crc = 0
        self._sha256 = hashlib.sha256()

    def add(self, data: bytes | memoryview) -> None:
        """The next bytes of the file."""
        self._sha256.update(data)
        view = memoryview(data)
        while view:
            step = min(BLOCK_SIZE - self.position % BLOCK_SIZE, len(view))
            self._block_crc = crc32c(view[:step], self._block_crc)
            self.position += step
            view = view[step:]
            if self.position % BLOCK_SIZE == 0:
                self.blocks.append(self._block_crc)
                self._block_crc = 0

    def digest(self, *, base_offset: int, next_offset: int, verified_ms: int) -> Digest:
        """Of all that has come."""
        last = (self._block_crc,) if self.position % BLOCK_SIZE else ()
        return Digest(
            base_offset=base_offset,
            next_offset=next_offset,
            size=self.position,
            verified_ms=verified_ms,
            sha256=self._sha256.digest(),
            blocks=(*self.blocks, *last),
        )


def read_digest(disk: Disk, path: str) -> Digest | None:
    """The digest in a file; None if there is none that can be read, for then it is made anew."""
    if not disk.exists(path):
        return None
    try:
        return Digest.decode(read_file(disk, path))
    except (BadDigest, CorruptLog, DiskFailed) as error:
        logger.warning("the digest cannot be read, and will be made anew path=%s because=%s", path, error)
        return None


def blocks_in(size: int) -> int:
    """How many blocks a file of that size has."""
    return -(-size // BLOCK_SIZE)
