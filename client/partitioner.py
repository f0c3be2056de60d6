"""Which partition a record goes to.

A key always goes to the same partition, by the hash that Kafka's own clients use: murmur2 of the key's bytes, sign bit
off, modulo the number of partitions. A record without a key goes where the last one went until that partition's batch
is closed, and then to another at random (KIP-480): few large batches instead of many small ones.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from functools import lru_cache

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_KEYS_REMEMBERED_MAX = 8192


def murmur2(data: bytes) -> int:
    """The 32-bit MurmurHash2 of `data` with Kafka's seed, as an unsigned number."""
    size = len(data)
    whole = size & ~3
    value = _SEED ^ size
    for word in struct.unpack_from(f"<{whole >> 2}I", data):
        word = word * _M & _MASK
        word = (word ^ word >> 24) * _M & _MASK
        value = value * _M & _MASK ^ word
    if size != whole:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15


class Partitioner:
    """Chooses partitions for one producer."""

    def __init__(self, randomness: random.Random) -> None:
        self._random = randomness
        self._hash = lru_cache(_KEYS_REMEMBERED_MAX)(murmur2)  # keys repeat, and hashing is a loop in Python
        self._sticky: dict[str, int] = {}

    def for_key(self, key: bytes, count: int) -> int:
        """The partition of a key among `count`."""
        return (self._hash(key) & 0x7FFFFFFF) % count

    def without_key(self, topic: str, available: Sequence[int]) -> int:
        """The partition for records without a key, among those that have a leader now."""
        partition = self._sticky.get(topic)
        if partition is None or partition not in available:
            partition = self._sticky[topic] = self._random.choice(available)
        return partition

    def move_on(self, topic: str, available: Sequence[int]) -> int:
        """The partition's batch takes no more records: those without a key go to another partition from now on."""
        last = self._sticky.get(topic)
        others = [partition for partition in available if partition != last]
        partition = self._sticky[topic] = self._random.choice(others or available)
        return partition
