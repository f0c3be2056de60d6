"""FirstUnread: how old the first record is that a group has not consumed; remembered, for it must be read from the log.

A look at the log costs an index lookup and the head of a batch, a fraction of a millisecond as long as the page is in
memory. While a group stands still nothing is looked up twice. While it moves every position is new: then the oldest
answers are replaced first, as many as the asker can afford, and the others stay as they are, a little too old.
"""

from collections.abc import Collection, MutableMapping
from typing import NamedTuple
from uuid import UUID

from .topics.partition import Partition

UNKNOWN = -1

Reader = tuple[str, UUID]
"""A group, by its id, in a topic."""


class Known(NamedTuple):
    """What a look at a partition's log has told."""

    offset: int
    time_ms: int
    look: int
    """The number of the look; later ones are higher."""


NEVER = Known(-1, UNKNOWN, 0)

Times = MutableMapping[int, Known]
"""By partition."""


class FirstUnread:
    """What is known, by group, topic and partition."""

    def __init__(self) -> None:
        self._times: dict[Reader, dict[int, Known]] = {}
        self._looks = 0

    @property
    def count(self) -> int:
        """How many times are remembered."""
        return sum(map(len, self._times.values()))

    def times_of(self, reader: Reader) -> Times:
        """Of one group in one topic; who finds that nothing is left to read takes the entry out."""
        times = self._times.get(reader)
        if times is None:
            times = self._times[reader] = {}
        return times

    def look(self, times: Times, partition: Partition, offset: int) -> None:
        """Read the time of the record at `offset`, the group's first unread one."""
        self._looks += 1
        time_ms = partition.time_at(offset)
        times[partition.index] = Known(offset, UNKNOWN if time_ms is None else time_ms, self._looks)

    def keep(self, readers: Collection[Reader]) -> None:
        """Forget all others: groups and topics that are gone."""
        for reader in self._times.keys() - readers:
            del self._times[reader]


def age_ms(times: Times, partition_index: int, *, now_ms: int) -> int:
    """How old the first unread record is, as far as was looked; UNKNOWN if that was never."""
    time_ms = times.get(partition_index, NEVER).time_ms
    return UNKNOWN if time_ms == UNKNOWN else max(0, now_ms - time_ms)
