"""What a consumer has of its topics: its partitions, what of them is in the program's hands, and how far it is done.

Sans-I/O. A partition's records go from the fetcher, batch by batch, into `take`, and are *in hand* from then on until
`finish`. A partition is *done* up to its first record in hand, or else up to the next that would be handed out: that
is what may be committed. A holding lives as long as an assignment: what an earlier one had in hand says nothing about
a later one of the same partition.
"""

from __future__ import annotations

from .fetcher import Cursor, Fetcher
from .membership import Place
from .records import Record, TopicPartition


class Holding:
    """A partition while it is assigned to this consumer."""

    __slots__ = ("committed", "cursor", "is_held", "is_paused", "is_ready")

    def __init__(self, cursor: Cursor, committed: int) -> None:
        self.cursor = cursor
        self.committed = committed
        """The offset that the group has, as far as is known; less is not committed. -1: whatever it is."""
        self.is_held = True
        self.is_paused = False
        """By the program."""
        self.is_ready = False
        """The program has been told of it, and it is not being given up."""

    @property
    def name(self) -> TopicPartition:
        """Topic and number."""
        return self.cursor.name

    @property
    def place(self) -> Place:
        """The partition as the group names it."""
        return Place(self.cursor.topic_id, self.cursor.partition)

    def update(self) -> None:
        """Tell the cursor."""
        self.cursor.paused = self.is_paused or not self.is_ready


class Holdings:
    """The partitions of one consumer."""

    def __init__(self, fetcher: Fetcher, *, hands_out_whole: bool) -> None:
        self.by_name: dict[TopicPartition, Holding] = {}
        self.in_hand: dict[Holding, int] = {}
        """The first offset of each that was taken and is not finished."""
        self._fetcher = fetcher
        self._hands_out_whole = hands_out_whole
        """A batch that was loaded is finished to its end, also if its partition is to be given up meanwhile."""
        self._records: list[Record] = []
        self._at = 0
        self._source: Holding | None = None
        """Of which partition `_records` are."""

    # Partitions come and go

    def add(self, name: TopicPartition, place: Place, offset: int, *, committed: int) -> Holding:
        """A partition that was assigned; nothing is fetched before it is ready."""
        cursor = self._fetcher.add(name, place.topic_id, offset)
        holding = self.by_name[name] = Holding(cursor, committed)
        holding.update()
        return holding

    def stop(self, holding: Holding) -> None:
        """No more of the partition is handed out; what is in hand may still be finished."""
        holding.is_ready = False
        holding.update()
        is_kept = self._hands_out_whole and self._left_of(holding)
        self._move(holding, holding.cursor.position if is_kept else self.position(holding), keeps_rest=is_kept)

    def remove(self, holding: Holding) -> None:
        """The partition is given up, or lost."""
        holding.is_held = False
        del self.by_name[holding.name]
        self.in_hand.pop(holding, None)
        self._forget_rest(holding)
        self._fetcher.remove(holding.cursor)

    def pause(self, holding: Holding, *, is_paused: bool) -> None:
        """Hand out no more for now, or go on; what was fetched ahead is fetched again."""
        if holding.is_paused != is_paused:
            holding.is_paused = is_paused
            holding.update()
            self._move(holding, self.position(holding))

    def place(self, holding: Holding, offset: int) -> None:
        """Go on elsewhere; from here commits may go back."""
        holding.committed = -1
        self._move(holding, offset)

    # Records

    def load(self) -> bool:
        """Whether there is something to take."""
        if self._at < len(self._records):
            return True
        batch = self._fetcher.next_batch()
        if batch is None:
            return False
        self._records, self._at = batch, 0
        self._source = self.by_name[TopicPartition(batch[0].topic, batch[0].partition)]
        return True

    def take(self) -> Record | None:
        """The next record of the batch that was loaded, which is in hand now; None at its end."""
        if self._at == len(self._records):
            return None
        record = self._records[self._at]
        self._at += 1
        assert self._source is not None
        self.in_hand.setdefault(self._source, record.offset)
        return record

    @property
    def source(self) -> Holding:
        """Where the record that was taken last, or can be taken next, is from."""
        assert self._source is not None
        return self._source

    def untake(self) -> None:
        """The record that was taken last is the next again."""
        self._at -= 1
        if self.in_hand.get(self.source) == self._records[self._at].offset:
            del self.in_hand[self.source]

    def finish(self) -> None:
        """The program is done with what is in hand."""
        self.in_hand.clear()

    def put_back(self) -> None:
        """What is in hand is handed out again."""
        for holding, offset in self.in_hand.items():
            self._move(holding, offset)
        self.in_hand.clear()

    def put_back_batch(self) -> None:
        """What is left of the batch that was loaded is handed out later."""
        if self._source is not None:
            self._move(self._source, self.position(self._source))

    # How far

    def position(self, holding: Holding) -> int:
        """The offset of what is handed out next."""
        if self._left_of(holding):
            return self._records[self._at].offset
        return holding.cursor.position

    def done(self, holding: Holding) -> int:
        """Up to where the program is done."""
        offset = self.in_hand.get(holding)
        return self.position(holding) if offset is None else offset

    def is_busy(self, holding: Holding) -> bool:
        """The program has something of the partition that it is to finish before the partition is given up."""
        return holding in self.in_hand or (self._hands_out_whole and self._left_of(holding))

    # Inside

    def _left_of(self, holding: Holding) -> bool:
        return self._source is holding and self._at < len(self._records)

    def _move(self, holding: Holding, offset: int, *, keeps_rest: bool = False) -> None:
        if not keeps_rest:
            self._forget_rest(holding)
        self._fetcher.place(holding.cursor, offset)

    def _forget_rest(self, holding: Holding) -> None:
        if self._source is holding:
            self._records, self._at, self._source = [], 0, None
