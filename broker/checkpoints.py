"""Which logs make a checkpoint, and when: so that after a crash there is never much to read.

A log makes one by itself when it has grown by 64 MiB, or by many small batches (storage/log.py). Here are the other
two occasions. Within a minute every log that has anything beyond its last one makes one; they take turns, so that no
moment has many. And all together never have more than a gibibyte beyond: before that, those that have most make
one. What is counted is `recovery_work`, in which a batch has a weight of its own.
"""

from typing import Final

from .topics.registry import Topics

ROUND_S: Final = 1.0
ROUNDS: Final = 60
"""After so many rounds each log has had its turn."""
WORK_MAX: Final = 512 << 20
"""Of all logs together. Half of what is promised: a checkpoint counts a round or two later, when its flush has ended
and the mark is written."""


class Checkpoints:
    """Calls for them, a round at a time."""

    def __init__(self, topics: Topics, *, work_max: int = WORK_MAX) -> None:
        self._topics = topics
        self._work_max = work_max
        self._turn = 0

    def make_round(self) -> None:
        """Call for those that are due now."""
        logs = [
            (partition.log.recovery_work, partition)
            for topic in self._topics
            for partition in topic.partitions
            if not partition.log.offline
        ]
        self._turn = (self._turn + 1) % ROUNDS
        for work, partition in logs[self._turn :: ROUNDS]:
            if work > 0:
                partition.checkpoint()
        excess = sum(work for work, _ in logs) - self._work_max
        if excess > 0:
            for work, partition in sorted(logs, key=lambda log: log[0], reverse=True):
                partition.checkpoint()
                excess -= work
                if excess <= 0:
                    break
