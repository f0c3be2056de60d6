"""Producers of a log: retries recognised, gaps and old epochs refused, what failed undone [I-1…I-4, I-7, B-21]."""

import struct
from dataclasses import dataclass, field

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.builders import a_batch
from tidelog.protocol.batch import BatchHeader, read_header
from tidelog.storage.errors import OutOfOrderSequence, ProducerFenced
from tidelog.storage.producer_state import SEQUENCE_MAX, BadSnapshot, ProducerRoom, ProducerState, following


def a_header(
    sequence: int, count: int = 1, *, producer_id: int = 1, epoch: int = 0, base_offset: int = 0
) -> BatchHeader:
    batch = a_batch([b"v"] * count, producer_id=producer_id, producer_epoch=epoch, base_sequence=0)
    return read_header(batch)._replace(base_sequence=sequence, base_offset=base_offset)


def append(state: ProducerState, header: BatchHeader, base_offset: int = 0, *, now_ms: int = 0) -> None:
    state.check(header)
    state.update(header, base_offset, timestamp=header.max_timestamp, now_ms=now_ms)


def is_accepted(state: ProducerState, header: BatchHeader) -> bool:
    try:
        state.check(header)
    except OutOfOrderSequence:
        return False
    return True


def test_a_retry_of_any_of_the_last_five_batches_is_recognised_with_its_offset() -> None:
    """I-1, I-2, B-21."""
    state = ProducerState()
    for number in range(7):
        append(state, a_header(number * 3, 3), 100 + number * 10)
    for number in range(7):
        first = state.duplicate_of(a_header(number * 3, 3))
        assert (first.first_offset if first else None) == (100 + number * 10 if number >= 2 else None)


def test_only_the_whole_batch_is_a_duplicate() -> None:
    state = ProducerState()
    append(state, a_header(0, 3))
    assert state.duplicate_of(a_header(0, 2)) is None
    assert state.duplicate_of(a_header(1, 2)) is None
    assert state.duplicate_of(a_header(0, 3, epoch=1)) is None
    assert state.duplicate_of(a_header(0, 3, producer_id=2)) is None


@pytest.mark.parametrize("sequence", [0, 1, 2, 4, 5, SEQUENCE_MAX])
def test_a_batch_must_follow_on_the_last_one(sequence: int) -> None:
    """I-3."""
    state = ProducerState()
    append(state, a_header(0, 3))
    with pytest.raises(OutOfOrderSequence, match=f"{sequence} where 3 should be"):
        state.check(a_header(sequence))
    state.check(a_header(3))


def test_the_sequence_behind_the_greatest_is_zero() -> None:
    """I-3, I-4."""
    state = ProducerState()
    append(state, a_header(SEQUENCE_MAX - 1, 2))
    assert state.duplicate_of(a_header(SEQUENCE_MAX - 1, 2)) is not None
    assert not is_accepted(state, a_header(SEQUENCE_MAX))
    append(state, a_header(0), 2)
    assert is_accepted(state, a_header(1))


def test_a_batch_may_reach_over_the_greatest_sequence() -> None:
    """I-4."""
    assert [following(SEQUENCE_MAX - 1, count) for count in range(4)] == [SEQUENCE_MAX - 1, SEQUENCE_MAX, 0, 1]
    state = ProducerState()
    append(state, a_header(SEQUENCE_MAX - 1, 5))
    assert is_accepted(state, a_header(3))
    restored = ProducerState.decode(state.encode(), now_ms=0)
    assert restored.duplicate_of(a_header(SEQUENCE_MAX - 1, 5)) is not None


def test_a_new_epoch_begins_at_zero_and_ends_the_old_one() -> None:
    """I-2, I-3."""
    state = ProducerState()
    append(state, a_header(0, 3))
    with pytest.raises(OutOfOrderSequence, match="where 0 should be"):
        state.check(a_header(3, epoch=1))
    append(state, a_header(0, epoch=1), 3)
    with pytest.raises(ProducerFenced, match="epoch 0 of producer 1 is smaller than 1"):
        state.check(a_header(3, epoch=0))
    assert state.duplicate_of(a_header(0, 3, epoch=0)) is None


def test_of_an_unknown_producer_any_sequence_is_taken() -> None:
    """I-3: its state may have expired."""
    state = ProducerState()
    append(state, a_header(77, epoch=5))
    assert not is_accepted(state, a_header(77, 2, epoch=5))
    assert is_accepted(state, a_header(78, epoch=5))


def test_a_producer_expires_when_it_has_not_written_for_so_long() -> None:
    """I-6."""
    state = ProducerState()
    append(state, a_header(0, producer_id=1), now_ms=0)
    append(state, a_header(0, producer_id=2), now_ms=10)
    append(state, a_header(1, producer_id=1), now_ms=20)
    append(state, a_header(0, producer_id=3), now_ms=30)
    assert state.expire(written_before_ms=10) == 0
    assert state.expire(written_before_ms=21) == 2
    assert (state.get(1), state.get(2)) == (None, None)
    assert state.get(3) is not None


def test_when_there_are_too_many_the_fullest_log_forgets_those_silent_longest() -> None:
    room = ProducerRoom(limit=8)
    modest, greedy = ProducerState(), ProducerState()
    for state in (modest, greedy):
        room.adopt(state)
    append(modest, a_header(0, producer_id=1))
    for producer_id in range(100, 120):
        append(greedy, a_header(0, producer_id=producer_id))
        greedy.commit()
    assert modest.get(1) is not None
    assert greedy.get(119) is not None
    assert greedy.get(100) is None
    assert len(modest) + len(greedy) <= 8


def test_a_log_that_is_closed_gives_its_room_back() -> None:
    room = ProducerRoom(limit=3)
    first, second = ProducerState(), ProducerState()
    room.adopt(first)
    for producer_id in range(3):
        append(first, a_header(0, producer_id=producer_id))
    del first
    room.adopt(second)
    for producer_id in range(3):
        append(second, a_header(0, producer_id=producer_id))
    assert len(second) == 3


def test_what_could_not_be_written_leaves_the_order_of_the_last_writes_as_it_was() -> None:
    """I-6: whoever wrote last before stands where it stood, also among those of the same millisecond."""
    state = ProducerState()
    for number, now_ms in enumerate((10, 20, 20, 20, 30)):
        append(state, a_header(0, producer_id=number), number, now_ms=now_ms)
    state.commit()
    before = state.encode()
    for number in (2, 0):
        append(state, a_header(1, producer_id=number), 5 + number, now_ms=40)
    append(state, a_header(0, producer_id=9), 8, now_ms=40)
    state.rewind()
    assert state.encode() == before
    assert state.expire(written_before_ms=11) == 1
    assert state.get(0) is None
    assert state.expire(written_before_ms=21) == 3
    assert state.get(4) is not None


# Snapshots


def test_a_snapshot_is_kafkas_byte_for_byte_but_for_the_older_batches() -> None:
    """I-7: ProducerSnapshot version 1; Kafka's reader takes the last row of each producer."""
    state = ProducerState()
    append(state, a_header(0, 2, producer_id=9, epoch=3), 100)
    append(state, a_header(2, 1, producer_id=9, epoch=3), 102)
    timestamp = a_header(0).max_timestamp
    rows = struct.pack(">qhiqiqiq", 9, 3, 1, 101, 1, timestamp + 1, -1, -1)
    rows += struct.pack(">qhiqiqiq", 9, 3, 2, 102, 0, timestamp, -1, -1)
    body = struct.pack(">i", 2) + rows
    assert state.encode() == struct.pack(">hI", 1, crc32c(body)) + body


def a_snapshot() -> bytes:
    state = ProducerState()
    for number in range(3):
        append(state, a_header(number, producer_id=5), number)
    return state.encode()


def test_every_damage_of_a_snapshot_is_noticed() -> None:
    """I-7, A8: each bit, each cut."""
    data = a_snapshot()
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadSnapshot):
            ProducerState.decode(bytes(flipped), now_ms=0)
    for size in range(len(data)):
        with pytest.raises(BadSnapshot):
            ProducerState.decode(data[:size], now_ms=0)


def test_batches_that_do_not_ascend_are_no_snapshot() -> None:
    row = struct.pack(">qhiqiqiq", 9, 3, 1, 101, 1, 0, -1, -1)
    body = struct.pack(">i", 2) + row + row
    with pytest.raises(BadSnapshot, match="do not ascend"):
        ProducerState.decode(struct.pack(">hI", 1, crc32c(body)) + body, now_ms=0)


@pytest.mark.parametrize("count", [-1, 0, 1, 3])
def test_a_snapshot_with_a_true_checksum_has_as_many_rows_as_it_says(count: int) -> None:
    rows = b"".join(struct.pack(">qhiqiqiq", 9, 3, number, 100 + number, 0, 0, -1, -1) for number in range(2))
    body = struct.pack(">i", count) + rows
    with pytest.raises(BadSnapshot, match="rows announced"):
        ProducerState.decode(struct.pack(">hI", 1, crc32c(body)) + body, now_ms=0)


def test_a_restored_producer_has_its_whole_time_before_it() -> None:
    """I-6: how long the broker was down does not count."""
    state = ProducerState.decode(a_snapshot(), now_ms=1000)
    assert state.expire(written_before_ms=1000) == 0
    assert state.expire(written_before_ms=1001) == 1


# Any sequence of sends, retries, reorderings and crashes


@dataclass
class Model:
    """One producer as the rules put it: everything it ever wrote."""

    epoch: int = 0
    written: list[tuple[int, int, int]] = field(default_factory=list)
    """First sequence, count, base offset; of the present epoch."""

    @property
    def next_sequence(self) -> int:
        return following(self.written[-1][0], self.written[-1][1]) if self.written else 0


class Machine(RuleBasedStateMachine):
    """Producers with requests in flight that arrive once, twice, late, in any order; a disk that may refuse."""

    @initialize(first=st.sampled_from([0, SEQUENCE_MAX - 5]))
    def begin(self, first: int) -> None:
        self.state = ProducerState()
        self.durable = self.state.encode()
        self.end = 0
        self.models: dict[int, Model] = {}
        self.sent: list[BatchHeader] = []
        self.next_to_send: dict[tuple[int, int], int] = {}
        self.first = first
        self.undo: tuple[int, dict[int, Model]] | None = None

    @rule(producer_id=st.integers(1, 2), count=st.integers(1, 3), new_epoch=st.integers(0, 9))
    def send(self, producer_id: int, count: int, new_epoch: int) -> None:
        epoch = max((epoch for known, epoch in self.next_to_send if known == producer_id), default=0)
        epoch += new_epoch == 9
        key = (producer_id, epoch)
        sequence = self.next_to_send.get(key, 0 if epoch else self.first)
        self.sent.append(a_header(sequence, count, producer_id=producer_id, epoch=epoch))
        self.next_to_send[key] = following(sequence, count)

    @rule(which=st.integers(0, 100))
    def arrive(self, which: int) -> None:
        """Any request that was ever sent, again."""
        if not self.sent:
            return
        header = self.sent[which % len(self.sent)]
        model = self.models.get(header.producer_id)
        same = model.written[-5:] if model is not None and model.epoch == header.producer_epoch else []
        expected = [
            offset for first, count, offset in same if (first, count) == (header.base_sequence, header.record_count)
        ]
        duplicate = self.state.duplicate_of(header)
        assert (duplicate.first_offset if duplicate else None) == (expected[-1] if expected else None)
        if duplicate is not None:
            return
        try:
            self.state.check(header)
        except ProducerFenced:
            assert model is not None
            assert header.producer_epoch < model.epoch
            return
        except OutOfOrderSequence:
            assert model is not None
            wanted = model.next_sequence if model.epoch == header.producer_epoch else 0
            assert header.base_sequence != wanted
            return
        self._write(header, model)

    def _write(self, header: BatchHeader, model: Model | None) -> None:
        if self.undo is None:
            copies = {number: Model(one.epoch, list(one.written)) for number, one in self.models.items()}
            self.undo = (self.end, copies)
        if model is None or model.epoch != header.producer_epoch:
            assert model is None or header.base_sequence == 0
            model = self.models[header.producer_id] = Model(header.producer_epoch)
        else:
            assert header.base_sequence == model.next_sequence
        self.state.update(header, self.end, timestamp=header.max_timestamp, now_ms=0)
        model.written.append((header.base_sequence, header.record_count, self.end))
        self.end += header.record_count

    @rule()
    def written(self) -> None:
        self.state.commit()
        self.undo = None
        self.durable = self.state.encode()

    @rule()
    def refused_by_the_disk(self) -> None:
        self.state.rewind()
        if self.undo is not None:
            self.end, self.models = self.undo
            self.undo = None
        assert self.state.encode() == self.durable

    @rule()
    def restart(self) -> None:
        self.written()
        self.state = ProducerState.decode(self.state.encode(), now_ms=0)

    @invariant()
    def the_state_is_the_end_of_what_was_written(self) -> None:
        for producer_id, model in self.models.items():
            producer = self.state.get(producer_id)
            assert producer is not None
            assert producer.epoch == model.epoch
            assert [
                (one.first_sequence, one.offset_delta + 1, one.first_offset) for one in producer.batches
            ] == model.written[-5:]


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=60)


@given(st.integers(0, SEQUENCE_MAX), st.integers(0, SEQUENCE_MAX))
def test_sequences_count_in_a_circle(sequence: int, count: int) -> None:
    """I-4, in the words of Kafka's DefaultRecordBatch.incrementSequence."""
    expected = sequence + count if sequence <= SEQUENCE_MAX - count else count - (SEQUENCE_MAX - sequence) - 1
    assert following(sequence, count) == expected
