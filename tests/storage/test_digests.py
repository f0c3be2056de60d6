"""The digest of a segment: its layout, and that nothing but a whole one is taken for one."""

import hashlib
import logging
import random
import struct
from dataclasses import replace

import pytest
from crc32c import crc32c

from support.disk import SimulatedDisk
from tidelog.storage.digests import BLOCK_SIZE, HEAD_SIZE, BadDigest, Digest, Digester, blocks_in, read_digest

BYTES = random.Random(1).randbytes(2 * BLOCK_SIZE + 77)


def a_digest(data: bytes = BYTES) -> Digest:
    digester = Digester()
    digester.add(data)
    return digester.digest(base_offset=1000, next_offset=1234, verified_ms=1_750_000_000_000)


def test_the_layout_is_the_one_that_is_documented() -> None:
    encoded = a_digest().encode()
    fields = struct.pack(">qqqqi", 1000, 1234, len(BYTES), 1_750_000_000_000, BLOCK_SIZE)
    crcs = [crc32c(BYTES[at : at + BLOCK_SIZE]) for at in range(0, len(BYTES), BLOCK_SIZE)]
    rest = fields + hashlib.sha256(BYTES).digest() + struct.pack(">3I", *crcs)
    assert encoded == struct.pack(">hI", 1, crc32c(rest)) + rest
    assert len(encoded) == HEAD_SIZE + 3 * 4


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, len(BYTES)])
def test_what_is_encoded_is_decoded(size: int) -> None:
    digest = a_digest(BYTES[:size])
    assert len(digest.blocks) == blocks_in(size)
    assert Digest.decode(digest.encode()) == digest


@pytest.mark.parametrize("seed", range(20))
def test_it_does_not_matter_in_what_pieces_the_bytes_come(seed: int) -> None:
    rng, digester, position = random.Random(seed), Digester(), 0
    while position < len(BYTES):
        size = rng.choice((0, 1, rng.randrange(BLOCK_SIZE), 2 * BLOCK_SIZE))
        digester.add(memoryview(BYTES)[position : position + size])
        position += size
        assert digester.position == min(position, len(BYTES))
    assert digester.digest(base_offset=1000, next_offset=1234, verified_ms=1_750_000_000_000) == a_digest()


def test_every_flipped_bit_and_every_missing_byte_is_noticed() -> None:
    """A8: what cannot be read is made anew."""
    encoded = a_digest().encode()
    for position in range(len(encoded)):
        with pytest.raises(BadDigest):
            Digest.decode(encoded[:position])
        for bit in range(8):
            flipped = bytearray(encoded)
            flipped[position] ^= 1 << bit
            with pytest.raises(BadDigest):
                Digest.decode(bytes(flipped))
    with pytest.raises(BadDigest):
        Digest.decode(encoded + b"\0")


def test_a_digest_with_a_true_checksum_can_still_make_no_sense() -> None:
    digest = a_digest()
    for bad in (replace(digest, size=-1, blocks=()), replace(digest, size=0, blocks=())):
        encoded = bytearray(bad.encode() + (b"" if bad.size else bytes(4)))
        encoded[2:6] = crc32c(encoded[6:]).to_bytes(4, "big")
        with pytest.raises(BadDigest):
            Digest.decode(bytes(encoded))
    for version, block_size in ((2, BLOCK_SIZE), (1, 512)):
        encoded = bytearray(digest.encode())
        encoded[0:2] = version.to_bytes(2, "big")
        encoded[38:42] = block_size.to_bytes(4, "big")
        encoded[2:6] = crc32c(encoded[6:]).to_bytes(4, "big")
        with pytest.raises(BadDigest):
            Digest.decode(bytes(encoded))


def test_it_describes_one_segment_of_one_size() -> None:
    digest = a_digest()
    assert digest.describes(1000, 1234, len(BYTES))
    assert not digest.describes(0, 1234, len(BYTES))
    assert not digest.describes(1000, 1235, len(BYTES))
    assert not digest.describes(1000, 1234, len(BYTES) + 1)


def test_one_that_is_missing_or_unreadable_is_none(caplog: pytest.LogCaptureFixture) -> None:
    disk = SimulatedDisk()
    assert read_digest(disk, "7.digest") is None
    disk.open("7.digest", create=True).append([a_digest().encode()])
    assert read_digest(disk, "7.digest") == a_digest()
    disk.fail_next("read")
    assert read_digest(disk, "7.digest") is None
    disk.corrupt("7.digest", 50, b"rot")
    assert read_digest(disk, "7.digest") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
