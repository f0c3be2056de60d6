"""Records grow into batches, and leave in order whatever becomes of them."""

from collections import defaultdict
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.fake_broker import FakePartition
from tidelog.client.batcher import IN_FLIGHT_MAX, Batch, Batcher
from tidelog.client.config import ProducerConfig
from tidelog.client.errors import ConnectionLost, TidelogError
from tidelog.protocol.batch import BatchHeader, check
from tidelog.protocol.compression import Codec
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.primitives import INT16_MAX
from tidelog.protocol.records import iterate

HERE = ("orders", 0)
THERE = ("orders", 1)
LOST = ConnectionLost("as told")
DELIVERY_TIMEOUT = 10.0
LARGE = b"x" * 250
"""Three of these fill a batch of a thousand bytes."""


def a_batcher(
    *, linger: float = 0.0, max_batch: int = 1 << 20, codec: Codec = Codec.NONE, idempotent: bool = True
) -> Batcher:
    batcher = Batcher(
        ProducerConfig(
            linger=linger, max_batch=max_batch, codec=codec, delivery_timeout=DELIVERY_TIMEOUT, idempotent=idempotent
        )
    )
    if idempotent:
        batcher.producer_id = 7
    return batcher


def add(
    batcher: Batcher, value: bytes = b"value", *, name: tuple[str, int] = HERE, now: float = 0.0, size: int = 100
) -> Batch:
    batch = batcher.batch_for(name, size, now=now)
    batch.append(None, value, (), 1)
    return batch


def values(encoded: object) -> list[bytes | None]:
    assert isinstance(encoded, bytes | bytearray)
    check(encoded)
    return [record.value for record in iterate(encoded)]


def ready(batcher: Batcher, now: float = 0.0, *, hurry: bool = False) -> list[Batch]:
    return list(batcher.ready(now, hurry=hurry))


def test_records_of_a_partition_share_a_batch() -> None:
    batcher = a_batcher()
    assert add(batcher, b"1") is add(batcher, b"2")
    assert add(batcher, name=THERE) is not add(batcher)
    [here, _] = ready(batcher)
    assert values(batcher.take(here))[:2] == [b"1", b"2"]


def test_a_batch_that_has_left_takes_no_more_records() -> None:
    batcher = a_batcher()
    first = add(batcher, b"1")
    batcher.take(first)
    second = add(batcher, b"2")
    assert second is not first
    assert values(first.encode()) == [b"1"]
    with pytest.raises(AssertionError):
        first.append(None, b"late", (), 1)


def test_what_accumulates_while_a_batch_is_away_leaves_together_when_it_is_settled() -> None:
    batcher = a_batcher()
    first = add(batcher, b"1")
    batcher.take(first)
    for value in (b"2", b"3", b"4"):
        add(batcher, value)
    assert ready(batcher) == []
    batcher.settle(first)
    [second] = ready(batcher)
    assert values(batcher.take(second)) == [b"2", b"3", b"4"]


def test_a_batch_that_comes_back_is_first_again_with_the_same_bytes() -> None:
    batcher = a_batcher(codec=Codec.ZSTD)
    first = add(batcher, b"1")
    sent = bytes(batcher.take(first))
    add(batcher, b"2")
    batcher.retry(first, LOST, at=5.0)
    assert ready(batcher, 4.9) == []
    assert ready(batcher, 5.0) == [first]
    assert batcher.take(first) == sent
    assert first.attempts == 2
    assert first.last_error is LOST


def test_a_batch_lingers_unless_it_is_full_or_followed() -> None:
    batcher = a_batcher(linger=1.0, max_batch=1000)
    first = add(batcher, b"x", now=5.0)
    assert ready(batcher, 5.9) == []
    assert batcher.next_event(5.9) == 6.0
    assert ready(batcher, 6.0) == [first]
    add(batcher, b"x" * 900, now=5.5)
    assert add(batcher, b"x" * 900, now=5.6, size=900) is not first
    assert ready(batcher, 5.6) == [first]


def test_hurry_lets_nothing_linger_but_waits_for_a_retry() -> None:
    batcher = a_batcher(linger=1.0)
    here, there = add(batcher), add(batcher, name=THERE)
    batcher.take(there)
    batcher.retry(there, LOST, at=7.0)
    assert ready(batcher, 0.0, hurry=True) == [here]
    mark = batcher.hurry()
    assert ready(batcher, 0.0) == [here]
    assert not batcher.settled_through(mark)
    for batch in (here, there):
        batcher.settle(batch)
    assert batcher.settled_through(mark)
    assert ready(batcher, 0.0) == []


def test_what_comes_after_a_flush_does_not_keep_it_waiting() -> None:
    batcher = a_batcher()
    first = add(batcher)
    mark = batcher.hurry()
    batcher.take(first)
    add(batcher)
    batcher.settle(first)
    assert batcher.settled_through(mark)


def test_a_batch_holds_no_more_than_it_may_unless_a_record_alone_is_larger() -> None:
    batcher = a_batcher(max_batch=500)
    large = add(batcher, b"x" * 5000, size=5032)
    assert add(batcher, b"y", size=33) is not large
    for _ in range(20):
        add(batcher, b"z" * 100, size=132)
    sizes = [len(batcher.take(batch)) for batch in list(batcher.outstanding)[:1]]
    assert sizes[0] > 5000
    assert all(batch.size <= 500 for batch in list(batcher.outstanding)[1:])


def test_nothing_leaves_to_a_new_topic_of_the_same_name_while_others_are_away_to_the_old_one() -> None:
    """The new log takes any number: the first to come would be the first in it."""
    batcher = a_batcher(max_batch=1000)
    old, new = UUID(int=1), UUID(int=2)
    first = add(batcher)
    assert batcher.may_go_to(first, old)
    batcher.take(first)
    for _ in range(12):
        add(batcher, LARGE, size=300)
    batcher.settle(first, is_delivered=True)
    a, b = ready(batcher)[0], None
    batcher.take(a)
    [b] = ready(batcher)
    batcher.take(b)
    [c] = ready(batcher)
    assert batcher.may_go_to(c, old)
    assert not batcher.may_go_to(c, new)
    batcher.settle(a, is_delivered=True)
    assert ready(batcher) == [], "it was the old topic that knew the numbers"
    batcher.retry(b, LOST, at=0.0)
    assert ready(batcher) == [b]
    assert batcher.may_go_to(b, new)
    batcher.take(b)
    assert ready(batcher) == []
    batcher.settle(b, is_delivered=True)
    assert ready(batcher) == [c]


def test_batches_past_their_deadline_are_told_in_flight_or_not() -> None:
    batcher = a_batcher()
    first = add(batcher, now=0.0)
    batcher.take(first)
    second = add(batcher, now=1.0)
    third = add(batcher, now=2.0, name=THERE)
    assert batcher.next_event(2.0) == pytest.approx(DELIVERY_TIMEOUT)
    assert batcher.expired(0.5 + DELIVERY_TIMEOUT) == [first]
    batcher.settle(first)
    assert batcher.expired(1.0 + DELIVERY_TIMEOUT) == [second]
    batcher.settle(second)
    assert batcher.expired(2.0 + DELIVERY_TIMEOUT) == [third]


def test_partitions_take_turns() -> None:
    batcher = a_batcher()
    for number in range(3):
        add(batcher, name=("orders", number))
    [first, *_] = ready(batcher)
    batcher.take(first)
    batcher.settle(first)
    add(batcher, name=first.name)
    assert [batch.name[1] for batch in ready(batcher)] == [1, 2, 0]


class Watched:
    """A receipt that remembers what it was told."""

    def __init__(self) -> None:
        self.held = 7
        self.told: list[object] = []

    def delivered(self, batch: Batch, base_offset: int, append_time_ms: int) -> None:
        self.told.append((base_offset, append_time_ms))

    def failed(self, error: TidelogError) -> None:
        self.told.append(error)


def test_all_who_wait_for_a_batch_are_told() -> None:
    batch = add(a_batcher())
    watchers = [Watched(), Watched()]
    batch.receipts.extend(watchers)
    assert batch.held == 14
    batch.deliver(42, -1)
    batch.fail(LOST)
    assert [watcher.told for watcher in watchers] == [[(42, -1), LOST]] * 2


def stamped(encoded: object) -> tuple[int, int, int]:
    """Producer id, epoch and base sequence."""
    header = header_of(encoded)
    return header.producer_id, header.producer_epoch, header.base_sequence


def header_of(encoded: object) -> BatchHeader:
    assert isinstance(encoded, bytes | bytearray)
    return check(encoded)


def taken(batcher: Batcher, now: float = 0.0) -> list[Batch]:
    """All that may leave now has left."""
    left: list[Batch] = []
    while batches := ready(batcher, now):
        for batch in batches:
            batcher.take(batch)
            left.append(batch)
    return left


def pipelined(batcher: Batcher, count: int) -> list[Batch]:
    """So many full batches of three records under way after one that was acknowledged."""
    first = add(batcher)
    batcher.take(first)
    for _ in range(3 * count):
        add(batcher, LARGE, size=300)
    add(batcher, LARGE, size=300)  # and one more, with room
    batcher.settle(first, is_delivered=True)
    left = taken(batcher)
    assert [batch.count for batch in left] == [3] * count
    return left


def test_a_producer_that_is_not_idempotent_numbers_nothing() -> None:
    """B-10."""
    batcher = a_batcher(idempotent=False)
    assert not batcher.wants_producer_id
    assert stamped(batcher.take(add(batcher))) == (-1, -1, -1)


def test_nothing_leaves_before_there_is_a_producer_id() -> None:
    batcher = a_batcher()
    batcher.producer_id = None
    batch = add(batcher)
    assert batcher.wants_producer_id
    assert ready(batcher) == []
    assert batcher.next_event(0.0) == DELIVERY_TIMEOUT
    batcher.producer_id = 9
    assert ready(batcher) == [batch]
    assert stamped(batcher.take(batch)) == (9, 0, 0)


def test_each_partition_is_numbered_for_itself() -> None:
    batcher = a_batcher()
    for name in (HERE, HERE, THERE):
        add(batcher, name=name)
    assert [stamped(batcher.take(batch)) for batch in ready(batcher)] == [(7, 0, 0), (7, 0, 0)]
    for batch in list(batcher.outstanding):
        batcher.settle(batch, is_delivered=True)
    add(batcher, name=THERE)
    assert stamped(batcher.take(add(batcher))) == (7, 0, 2)
    assert stamped(batcher.take(ready(batcher)[0])) == (7, 0, 1)


def test_numbers_are_given_when_a_batch_leaves_and_kept_when_it_is_sent_again() -> None:
    batcher = a_batcher(codec=Codec.LZ4)
    first = add(batcher)
    sent = bytes(batcher.take(first))
    batcher.retry(first, LOST, at=1.0)
    assert batcher.take(first) == sent
    assert first.may_be_stored


def test_the_first_batch_of_a_busy_time_travels_alone() -> None:
    """A broker that knows nothing of a producer takes any number, so that what follows could overtake it."""
    batcher = a_batcher(max_batch=1000)
    for _ in range(10):
        add(batcher, LARGE, size=300)
    [first] = taken(batcher)
    batcher.settle(first, is_delivered=True)
    assert len(taken(batcher)) == 2


def test_full_batches_follow_each_other_but_no_more_than_a_broker_remembers() -> None:
    """I-1, I-10."""
    batcher = a_batcher(max_batch=1000)
    first = add(batcher)
    batcher.take(first)
    for _ in range(30):
        add(batcher, LARGE, size=300)
    batcher.settle(first, is_delivered=True)
    left = taken(batcher)
    assert [stamped(batch.encode()) for batch in left] == [(7, 0, 1 + 3 * number) for number in range(5)]
    batcher.settle(left[0], is_delivered=True)
    assert len(taken(batcher)) == 1


def test_a_batch_with_room_grows_while_another_is_away() -> None:
    batcher = a_batcher(max_batch=1000)
    [only] = pipelined(batcher, 1)
    assert taken(batcher) == []
    batcher.settle(only, is_delivered=True)
    assert len(taken(batcher)) == 1


def test_what_comes_back_is_sent_again_one_by_one_before_anything_new() -> None:
    batcher = a_batcher(max_batch=1000)
    a, b, c = pipelined(batcher, 3)
    for _ in range(30):
        add(batcher, LARGE, size=300)
    for batch in (b, a):  # in whatever order they come
        batcher.retry(batch, LOST, at=0.0)
    assert taken(batcher) == [], "as long as one is away"
    batcher.settle(c, is_delivered=True)
    assert taken(batcher) == [a]
    assert a.was_first
    batcher.settle(a, is_delivered=True)
    left = taken(batcher)
    assert left[0] is b
    assert len(left) == 4, "with c they are five"
    batcher.settle(b, is_delivered=True)
    assert len(taken(batcher)) == 2


def test_after_a_gap_the_batches_get_the_numbers_of_a_new_epoch() -> None:
    """KIP-360: none of them can be in the log, and the old epoch is fenced."""
    batcher = a_batcher(max_batch=1000)
    a, b, c = pipelined(batcher, 3)
    batcher.retry(b, LOST, at=0.0)
    assert not b.was_first
    a.was_first = True  # as if it had been sent again
    assert batcher.renumber(a, is_fenced=False)
    batcher.retry(a, LOST, at=0.0)
    assert taken(batcher) == [], "what is away under the old numbers comes back first"
    batcher.retry(c, LOST, at=0.0)
    again = []
    while batcher.outstanding:
        [batch] = ready(batcher)
        batcher.take(batch)
        again.append((batch, *stamped(batch.encode())))
        batcher.settle(batch, is_delivered=True)
    assert again[:3] == [(a, 7, 1, 0), (b, 7, 1, 3), (c, 7, 1, 6)]
    assert again[3][1:] == (7, 1, 9)


def test_new_numbers_leave_alone_the_bytes_that_were_sent() -> None:
    batcher = a_batcher()
    batch = add(batcher)
    sent = batcher.take(batch)
    assert batcher.renumber(batch, is_fenced=False)
    batcher.retry(batch, LOST, at=0.0)
    assert stamped(batcher.take(batch)) == (7, 1, 0)
    assert stamped(sent) == (7, 0, 0)


def test_a_producer_that_is_fenced_gets_another_id_if_nothing_of_it_can_be_stored() -> None:
    batcher = a_batcher()
    batch = add(batcher)
    batcher.take(batch)
    assert batcher.renumber(batch, is_fenced=True)
    batcher.retry(batch, LOST, at=0.0, is_stored_maybe=False)
    assert batcher.wants_producer_id
    assert ready(batcher) == []
    batcher.producer_id = 8
    assert stamped(batcher.take(batch)) == (8, 0, 0)


def test_a_fenced_batch_that_may_be_stored_keeps_its_numbers() -> None:
    batcher = a_batcher()
    batch = add(batcher)
    batcher.take(batch)
    batcher.retry(batch, LOST, at=0.0)
    batcher.take(batch)
    assert not batcher.renumber(batch, is_fenced=True)
    assert not batcher.wants_producer_id


def test_a_batch_that_is_given_up_leaves_no_gap_behind() -> None:
    batcher = a_batcher()
    batch = add(batcher)
    batcher.take(batch)
    batcher.settle(batch)
    assert stamped(batcher.take(add(batcher))) == (7, 1, 0)


def test_one_that_never_left_leaves_none_either() -> None:
    batcher = a_batcher()
    batcher.settle(add(batcher))
    assert stamped(batcher.take(add(batcher))) == (7, 0, 0)


def test_those_behind_one_that_is_given_up_keep_their_numbers() -> None:
    """It may be stored, and so may they: with new numbers they would be stored twice."""
    batcher = a_batcher(max_batch=1000)
    a, b = pipelined(batcher, 2)
    for batch in (a, b):
        batcher.retry(batch, LOST, at=0.0)
    batcher.settle(a)
    sent = stamped(b.encode())
    assert taken(batcher) == [b]
    assert stamped(b.encode()) == sent


def test_when_the_epochs_are_used_up_another_producer_id_is_wanted() -> None:
    """I-9."""
    batcher = a_batcher()
    for _ in range(INT16_MAX + 1):
        assert not batcher.wants_producer_id
        batch = add(batcher)
        batcher.take(batch)
        batcher.settle(batch)
    assert stamped(batch.encode()) == (7, INT16_MAX, 0)
    assert batcher.wants_producer_id
    batcher.producer_id = 8
    assert stamped(batcher.take(add(batcher))) == (8, 0, 0)


class Traffic(RuleBasedStateMachine):
    """Any traffic without numbers: in order, but for batches that came twice."""

    idempotent = False

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.batcher = a_batcher(linger=0.5, max_batch=600, idempotent=self.idempotent)
        self.in_flight: list[Batch] = []
        self.sent: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        self.arrived: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        self.renewed: set[tuple[str, int]] = set()
        """Partitions of a topic that was deleted and created anew."""

    @rule(partition=st.integers(0, 2), size=st.integers(10, 700))
    def send(self, partition: int, size: int) -> None:
        name = ("orders", partition)
        value = b"%d" % len(self.sent[name])
        add(self.batcher, value.ljust(size, b"."), name=name, now=self.now, size=size + 41)
        self.sent[name].append(value)

    @rule(passed=st.floats(0.0, 2.0))
    def time_passes(self, passed: float) -> None:
        self.now += passed

    @rule(hurry=st.booleans(), count=st.integers(1, 3))
    def leave(self, hurry: bool, count: int) -> None:
        for batch in ready(self.batcher, self.now, hurry=hurry)[:count]:
            if self.may_leave(batch):
                self.batcher.take(batch)
                self.in_flight.append(batch)

    def may_leave(self, batch: Batch) -> bool:
        return True

    def from_the_first(self, name: tuple[str, int]) -> list[bytes]:
        """What was sent, from what arrived first; that is the beginning unless the topic is not the first one."""
        sent, arrived = self.sent[name], self.arrived[name]
        return sent[sent.index(arrived[0]) :] if arrived and name in self.renewed else sent

    def arrive(self, batch: Batch) -> bool:
        """The batch reaches the broker; false if it is not taken."""
        self.arrived[batch.name] += [(value or b"").rstrip(b".") for value in values(batch.encode())]
        return True

    @precondition(lambda self: self.in_flight)
    @rule(pick=st.integers(0, 4), answered=st.booleans(), arrives=st.booleans())
    def come_back(self, pick: int, answered: bool, arrives: bool) -> None:
        """The oldest of a partition reaches the broker first, as on a connection; or not; or nobody hears of it."""
        picked = self.in_flight[pick % len(self.in_flight)]
        batch = next(other for other in self.in_flight if other.name == picked.name)
        self.in_flight.remove(batch)
        is_taken = (arrives or answered) and self.arrive(batch)
        if answered and is_taken:
            self.batcher.settle(batch, is_delivered=True)
        elif answered:
            self.refused(batch)
        else:
            self.batcher.retry(batch, LOST, at=self.now + 0.1)

    def refused(self, batch: Batch) -> None:
        raise AssertionError("without numbers everything is taken")

    @rule()
    def flush_mark(self) -> None:
        mark = self.batcher.hurry()
        assert self.batcher.settled_through(mark) == (not self.batcher.outstanding)

    @invariant()
    def order_is_kept(self) -> None:
        for name, arrived in self.arrived.items():
            once = list(dict.fromkeys(arrived))
            assert once == self.from_the_first(name)[: len(once)]

    @invariant()
    def one_batch_of_a_partition_is_in_flight(self) -> None:
        names = [batch.name for batch in self.in_flight]
        assert len(names) == len(set(names))

    def teardown(self) -> None:
        while self.batcher.outstanding:
            self.now += 1.0
            self.leave(True, 3)
            while self.in_flight:
                self.come_back(0, True, True)
        for name in self.sent:
            once = list(dict.fromkeys(self.arrived[name]))
            assert len(once) == len(self.sent[name]) or name in self.renewed
            assert once == self.sent[name][len(self.sent[name]) - len(once) :]


class NumberedTraffic(Traffic):
    """Any traffic with numbers, and a broker that checks them: each record once, in order.

    The broker may forget a producer while nothing of the partition is under way; it never loses a record.
    The topic may be deleted and created anew at any time; then what is told to the old one is refused, and of the new
    one's log a piece of the row, without a gap, is all there is.
    """

    idempotent = True

    def __init__(self) -> None:
        super().__init__()
        self.topic_ids: defaultdict[tuple[str, int], UUID] = defaultdict(lambda: UUID(int=1))
        self.heard_ids: defaultdict[tuple[str, int], UUID] = defaultdict(lambda: UUID(int=1))
        """What the client's metadata say."""
        self.known: dict[tuple[str, int], FakePartition] = defaultdict(lambda: FakePartition(leader=1))

    def may_leave(self, batch: Batch) -> bool:
        return self.batcher.may_go_to(batch, self.heard_ids[batch.name])

    @rule(partition=st.integers(0, 2))
    def delete_and_create(self, partition: int) -> None:
        name = ("orders", partition)
        self.topic_ids[name] = UUID(int=self.topic_ids[name].int + 1)
        self.renewed.add(name)
        self.known.pop(name, None)
        self.arrived.pop(name, None)

    @rule(partition=st.integers(0, 2))
    def read_metadata(self, partition: int) -> None:
        name = ("orders", partition)
        self.heard_ids[name] = self.topic_ids[name]

    def arrive(self, batch: Batch) -> bool:
        if batch.topic_id != self.topic_ids[batch.name]:
            return False
        log = self.known[batch.name]
        before = log.next_offset
        taken = log.take(batch.encode())
        if isinstance(taken, ErrorCode):
            assert taken == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
            return False
        if log.next_offset > before:
            super().arrive(batch)
        return True

    def refused(self, batch: Batch) -> None:
        if batch.topic_id != self.topic_ids[batch.name]:
            self.read_metadata(batch.name[1])
        elif batch.was_first:
            assert self.batcher.renumber(batch, is_fenced=False)
        self.batcher.retry(batch, LOST, at=self.now + 0.1, is_stored_maybe=False)

    @rule(partition=st.integers(0, 2))
    def forget_a_producer(self, partition: int) -> None:
        name = ("orders", partition)
        if not any(batch.name == name for batch in self.batcher.outstanding):
            self.known[name].producers.clear()

    @invariant()
    def each_record_is_there_once(self) -> None:
        for name, arrived in self.arrived.items():
            assert arrived == self.from_the_first(name)[: len(arrived)]

    @invariant()
    def one_batch_of_a_partition_is_in_flight(self) -> None:
        for number in range(3):
            assert sum(batch.name == ("orders", number) for batch in self.in_flight) <= IN_FLIGHT_MAX


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestNumberedTraffic = NumberedTraffic.TestCase
TestNumberedTraffic.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
