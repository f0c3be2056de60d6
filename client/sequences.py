"""How the batches of one partition are numbered, so that the broker knows one that it has already [I-1 to I-4].

Theory (KIP-98, KIP-360). A producer has an id, and for each partition an epoch and the sequence number of its next
record. The broker takes a batch only if it begins where the last one ended, answers one that it has again as if it
were new, and refuses an older epoch. The numbers of a batch are given when it first leaves, and stay: only that makes
sending again harmless. New numbers for a batch that may be in the log would make it a second one.

An epoch ends when it is certain that a batch is not in the log and never will be under its numbers, though others
were numbered behind it. The next epoch begins at 0; whatever of the old one is still on its way is fenced by it. No
broker has to be asked for that: without transactions it only counts per partition.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.primitives import INT16_MAX, INT32_MAX


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a batch's header says of its producer."""

    producer_id: int
    epoch: int
    base_sequence: int


class Sequences:
    """The numbers of one partition, under one producer id."""

    __slots__ = ("_epoch", "_next_sequence", "producer_id")

    def __init__(self, producer_id: int) -> None:
        self.producer_id = producer_id
        self._epoch = 0
        self._next_sequence = 0

    def stamp(self, count: int) -> Stamp:
        """The numbers of the next `count` records; after 2147483647 comes 0."""
        stamp = Stamp(self.producer_id, self._epoch, self._next_sequence)
        self._next_sequence = (self._next_sequence + count) & INT32_MAX
        return stamp

    def gave(self, stamp: Stamp) -> bool:
        """These numbers are of the epoch that has not ended."""
        return stamp.producer_id == self.producer_id and stamp.epoch == self._epoch

    def begin_epoch(self) -> bool:
        """Begin the next epoch at 0; False if there is none left, and only another producer id would help."""
        if self._epoch == INT16_MAX:
            return False
        self._epoch += 1
        self._next_sequence = 0
        return True
