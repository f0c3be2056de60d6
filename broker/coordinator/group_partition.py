"""Which partition of `__consumer_offsets` remembers a group."""

import struct
from functools import lru_cache

KNOWN_LENGTH_MAX = 249
"""Characters of an id whose partition is remembered."""


def partition_for(group_id: str, count: int) -> int:
    """Which of the `count` partitions of the topic remembers this group: Kafka's choice."""
    # A group asks all the time, a stranger's long names but once: those must not fill a table.
    return (_known(group_id) if len(group_id) <= KNOWN_LENGTH_MAX else _hash(group_id)) % count


@lru_cache(maxsize=4096)
def _known(text: str) -> int:
    return _hash(text)


def _hash(text: str) -> int:
    """Java's `String.hashCode`, made positive as Kafka does it."""
    value = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for (unit,) in struct.iter_unpack(">H", units):
        value = (31 * value + unit) & 0xFFFFFFFF
    return 0 if value == 0x80000000 else min(value, 0x100000000 - value)
