"""Record batches for produce requests: good ones of every codec, idempotent ones, and ones that lie."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from functools import cache

import cramjam

from support.builders import a_batch, with_header
from tidelog.protocol.batch import (
    CODEC_MASK,
    CONTROL,
    DELETE_HORIZON,
    HEADER_SIZE,
    LOG_APPEND_TIME,
    TRANSACTIONAL,
    crc_of,
    read_header,
)
from tidelog.protocol.compression import Codec
from tidelog.protocol.primitives import INT16_MAX, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN

POOL_SIZE = 60
BOMB_SIZE = 20 << 20
BOMB_PIECES = 80
EDGES = (INT64_MIN, INT32_MIN, -1, 0, 1, 2, INT32_MAX, INT64_MAX)


class Batches:
    """Makes batches; the good ones come from a pool, for making one is most of the work of a request."""

    def __init__(self, rng: random.Random, producer_ids: Sequence[object]) -> None:
        self._rng = rng
        self._producer_ids = producer_ids
        self._sequences: dict[int, int] = {}
        self._pool = [bytes(self._good(index)) for index in range(POOL_SIZE)]
        self._faults: tuple[Callable[[bytearray], bytes | bytearray], ...] = (
            self._flipped,
            self._flipped_with_a_true_crc,
            self._with_a_lying_header,
            self._with_other_attributes,
            self._with_other_records,
            self._bomb,
            lambda batch: batch[: self._rng.randrange(len(batch))],
            lambda batch: batch + self._rng.randbytes(self._rng.randint(1, 70)),
            lambda batch: batch + batch,
        )

    def any(self) -> bytes | bytearray | None:
        """What stands in a produce request for one partition."""
        draw = self._rng.random()
        if draw < 0.5:
            return self._rng.choice(self._pool)
        if draw < 0.8:
            return self._idempotent()
        if draw < 0.82:
            return self._rng.choice((None, b""))
        return self._rng.choice(self._faults)(bytearray(self._rng.choice(self._pool)))

    def _good(self, index: int) -> bytearray:
        rng = self._rng
        count = rng.choice((1, 1, 2, 3, 10, 100))
        values = [None if rng.random() < 0.1 else rng.randbytes(rng.choice((0, 1, 10, 100))) for _ in range(count)]
        if index == 0:
            values = [b"z" * 70_000]
        return a_batch(
            values,
            key=rng.choice((None, b"", b"key", b"k" * 200)),
            headers=rng.choice(((), (("h", b"1"), ("h", None), ("", b"")))),
            codec=Codec(index % len(Codec)),
            timestamp_step=rng.choice((0, 1, 1000, -5)),
        )

    def _idempotent(self) -> bytearray:
        rng = self._rng
        known = self._producer_ids or (0, 1, 2)
        # Mostly the same one, so that its sequences in a partition are more than one.
        producer_id = known[-1] if rng.random() < 0.7 else rng.choice(known)
        assert isinstance(producer_id, int)
        batch = rng.choice(self._pool)
        count = read_header(batch).record_count
        sequence = self._sequences.get(producer_id, 0) if rng.random() < 0.6 else 0
        draw = rng.random()
        if draw < 0.7:
            self._sequences[producer_id] = (sequence + count) & INT32_MAX
        elif draw < 0.85:
            sequence = max(0, sequence - count)  # a retry
        else:
            sequence = rng.choice((0, 0, -1, sequence + 5, INT32_MAX, INT32_MAX - 1, INT32_MIN))
        epoch = rng.choice((0, 0, 0, 0, 1, -1, INT16_MAX))
        return with_header(
            batch, producer_id=producer_id, producer_epoch=epoch, base_sequence=max(INT32_MIN, min(sequence, INT32_MAX))
        )

    def _flipped(self, batch: bytearray) -> bytearray:
        batch[self._rng.randrange(len(batch))] ^= 1 << self._rng.randrange(8)
        return batch

    def _flipped_with_a_true_crc(self, batch: bytearray) -> bytearray:
        """What only a look at the records can tell."""
        for _ in range(self._rng.randint(1, 4)):
            batch[self._rng.randrange(21, len(batch))] = self._rng.randrange(256)
        batch[17:21] = crc_of(batch, 0, len(batch)).to_bytes(4, "big")
        return batch

    def _with_a_lying_header(self, batch: bytearray) -> bytearray:
        rng = self._rng
        position, size = rng.choice(
            ((0, 8), (8, 4), (12, 4), (16, 1), (23, 4), (27, 8), (35, 8), (43, 8), (51, 2), (53, 4), (57, 4))
        )
        value = rng.choice((*EDGES, len(batch), len(batch) - 12, len(batch) - 13))
        batch[position : position + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "big")
        if rng.random() < 0.8:
            batch[17:21] = crc_of(batch, 0, len(batch)).to_bytes(4, "big")
        return batch

    def _with_other_attributes(self, batch: bytearray) -> bytearray:
        bits = self._rng.choice((CODEC_MASK, CONTROL, DELETE_HORIZON, LOG_APPEND_TIME, TRANSACTIONAL, 5, 6, 0xFF80))
        attributes = read_header(batch).attributes ^ bits
        return with_header(batch, attributes=attributes - (1 << 16) if attributes > INT16_MAX else attributes)

    def _bomb(self, _: bytearray) -> bytearray:
        """Much of nothing, in few bytes; sometimes of a time that makes a broker look into it."""
        bomb = self._rng.choice(bombs())
        return with_header(bomb, max_timestamp=self._rng.choice((0, read_header(bomb).max_timestamp, INT64_MAX)))

    def _with_other_records(self, batch: bytearray) -> bytearray:
        """A true header around records that are none."""
        junk = self._rng.randbytes(self._rng.choice((0, 1, 7, 50)))
        return with_header(batch[:HEADER_SIZE] + junk, batch_length=HEADER_SIZE - 12 + len(junk))


@cache
def bombs() -> list[bytearray]:
    """Batches that inflate to a thousand times their size and more; snappy and LZ4 cannot.

    Made piece by piece: the memory of this process is watched.
    """
    piece = bytes(BOMB_SIZE // BOMB_PIECES)
    deflate = zlib.compressobj(9, wbits=31)
    frame = cramjam.zstd.Compressor()
    packed = [deflate.compress(piece) for _ in range(BOMB_PIECES)]
    for _ in range(BOMB_PIECES):
        frame.compress(piece)
    return [
        with_header(a_batch([b"-"])[:HEADER_SIZE] + text, attributes=codec, batch_length=HEADER_SIZE - 12 + len(text))
        for codec, text in (
            (Codec.GZIP, b"".join([*packed, deflate.flush()])),
            (Codec.ZSTD, bytes(frame.finish())),
        )
    ]
