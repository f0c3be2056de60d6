"""Which partition of `__consumer_offsets` remembers a group."""

import struct
from functools import lru_cache


def partition_for(group_id: str, count: int) -> int:
    """Which of the `count` partitions of the topic remembers this group: Kafka's choice."""
    return _hash(group_id) % count


@lru_cache(maxsize=4096)
def _hash(text: str) -> int:
    """Java's `String.hashCode`, made positive as Kafka does it."""
    value = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for (unit,) in struct.iter_unpack(">H", units):
        value = (31 * value + unit) & 0xFFFFFFFF
    return 0 if value == 0x80000000 else min(value, 0x100000000 - value)
