"""Records grow into batches, and leave in order whatever becomes of them."""

from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tidelog.client.batcher import Batch, Batcher
from tidelog.client.config import ProducerConfig
from tidelog.client.errors import ConnectionLost, TidelogError
from tidelog.protocol.batch import check
from tidelog.protocol.compression import Codec
from tidelog.protocol.records import iterate

HERE = ("orders", 0)
THERE = ("orders", 1)
LOST = ConnectionLost("as told")
DELIVERY_TIMEOUT = 10.0


def a_batcher(*, linger: float = 0.0, max_batch: int = 1 << 20, codec: Codec = Codec.NONE) -> Batcher:
    return Batcher(
        ProducerConfig(linger=linger, max_batch=max_batch, codec=codec, delivery_timeout=DELIVERY_TIMEOUT)
    )  # fmt: skip


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


def test_batches_past_their_deadline_are_told_apart_from_those_in_flight() -> None:
    batcher = a_batcher()
    first = add(batcher, now=0.0)
    batcher.take(first)
    second = add(batcher, now=1.0)
    third = add(batcher, now=2.0, name=THERE)
    assert batcher.expired(0.5 + DELIVERY_TIMEOUT) == []
    assert batcher.next_event(2.0) == pytest.approx(1.0 + DELIVERY_TIMEOUT)
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


class Traffic(RuleBasedStateMachine):
    """Any traffic: what reaches the other side is what was handed over, in order, but for batches that came twice."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.batcher = a_batcher(linger=0.5, max_batch=600)
        self.in_flight: list[Batch] = []
        self.sent: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        self.arrived: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        self.settled: set[Batch] = set()

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
            self.batcher.take(batch)
            self.in_flight.append(batch)

    @precondition(lambda self: self.in_flight)
    @rule(pick=st.randoms(use_true_random=False), answered=st.booleans(), arrives=st.booleans())
    def come_back(self, pick: object, answered: bool, arrives: bool) -> None:
        batch = self.in_flight.pop(0 if len(self.in_flight) == 1 else pick.randrange(len(self.in_flight)))  # type: ignore[attr-defined]
        if arrives or answered:
            self.arrived[batch.name] += [(value or b"").rstrip(b".") for value in values(batch.encode())]
        if answered:
            self.batcher.settle(batch)
            self.settled.add(batch)
        else:
            self.batcher.retry(batch, LOST, at=self.now + 0.1)

    @rule()
    def flush_mark(self) -> None:
        mark = self.batcher.hurry()
        assert self.batcher.settled_through(mark) == (not self.batcher.outstanding)

    @invariant()
    def order_is_kept(self) -> None:
        for name, arrived in self.arrived.items():
            once = list(dict.fromkeys(arrived))
            assert once == self.sent[name][: len(once)]

    @invariant()
    def one_batch_of_a_partition_is_in_flight(self) -> None:
        names = [batch.name for batch in self.in_flight]
        assert len(names) == len(set(names))

    def teardown(self) -> None:
        while self.batcher.outstanding:
            self.now += 1.0
            self.leave(True, 3)
            for batch in self.in_flight:
                self.arrived[batch.name] += [(value or b"").rstrip(b".") for value in values(batch.encode())]
                self.batcher.settle(batch)
            self.in_flight.clear()
        for name, sent in self.sent.items():
            assert list(dict.fromkeys(self.arrived[name])) == sent


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
