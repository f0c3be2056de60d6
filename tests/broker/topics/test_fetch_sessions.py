"""Fetch sessions: what is remembered of a reader, for how long, and that it misses nothing by them [F-4, L-14]."""

import random
from collections.abc import Coroutine, Iterable
from typing import TypeVar
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from support.bench import SEED, Bench, on_the_bench
from support.builders import a_batch, values_of
from support.environment import raise_failures
from support.loop import SimLoop
from support.network import SimNetwork
from support.session_client import Name, SessionClient, by_name, standing, topics_of
from tidelog.broker.metrics import Metrics
from tidelog.broker.request import Pending
from tidelog.broker.topics.fetch_sessions import EPOCH_MAX, IDLE_S_MAX, FetchSession, FetchSessions, WantedPartition
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.fetch import (
    EpochEndOffset,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
    PartitionData,
)
from tidelog.protocol.primitives import ZERO_UUID

T = TypeVar("T")


class Clock:
    """What sessions need of the environment."""

    def __init__(self) -> None:
        self.random = random.Random(SEED)
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Cache:
    """Sessions, a clock, and short ways to fetch."""

    def __init__(self, *, slots_max: int = 1000, partitions_max: int = 50_000) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.sessions = FetchSessions(
            self.clock,  # type: ignore[arg-type]
            self.metrics,
            slots_max=slots_max,
            partitions_max=partitions_max,
        )

    def open(self, *partitions: int, topic: str = "orders", session_id: int = 0) -> int:
        """A full fetch that asks for a session; its id."""
        request = a_request(*partitions, topic=topic, session_id=session_id, epoch=0)
        scope = self.sessions.resolve(request, by_id=False)
        return scope.settle([(wanted, PartitionData(high_watermark=5)) for wanted in scope.partitions.values()])

    def go_on(self, session_id: int, epoch: int, *partitions: int, forget: Iterable[int] = ()) -> int:
        """An incremental fetch without news; the session id it is answered with."""
        request = a_request(*partitions, session_id=session_id, epoch=epoch, forget=forget)
        return self.sessions.resolve(request, by_id=False).settle([])

    def refusal(self, request: FetchRequest, *, by_id: bool = False) -> ErrorCode:
        """The code with which a request is refused."""
        with pytest.raises(RequestRefused) as refused:
            self.sessions.resolve(request, by_id=by_id)
        return refused.value.code

    def session(self, session_id: int) -> FetchSession:
        """The session itself."""
        return self.sessions._sessions[session_id]  # noqa: SLF001 - two thousand million fetches take too long

    @property
    def counts(self) -> tuple[int, int, int]:
        """Sessions, partitions, evictions, as counted."""
        metrics = self.metrics
        return metrics.fetch_sessions, metrics.fetch_session_partitions, metrics.fetch_sessions_evicted


def a_request(
    *partitions: int, topic: str = "orders", session_id: int = 0, epoch: int = -1, forget: Iterable[int] = ()
) -> FetchRequest:
    asked = tuple(FetchPartition(partition=index) for index in partitions)
    return FetchRequest(
        session_id=session_id,
        session_epoch=epoch,
        topics=(FetchTopic(topic=topic, partitions=asked),) if asked else (),
        forgotten_topics_data=(ForgottenTopic(topic=topic, partitions=tuple(forget)),),
    )


def test_a_session_is_named_by_a_random_number_above_zero() -> None:
    cache = Cache()
    first, second = cache.open(0, 1), cache.open(0)
    assert first != second
    assert min(first, second) > 0
    assert cache.counts == (2, 3, 0)
    assert len(cache.sessions) == 2


def test_without_the_wish_for_one_there_is_no_session() -> None:
    cache = Cache()
    scope = cache.sessions.resolve(a_request(0, 1), by_id=False)
    assert not scope.is_incremental
    assert scope.settle([]) == 0
    assert cache.counts == (0, 0, 0)


def test_a_session_that_is_not_there_is_refused() -> None:
    cache = Cache()
    session_id = cache.open(0)
    assert cache.refusal(a_request(session_id=session_id + 1, epoch=1)) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert cache.refusal(a_request(session_id=0, epoch=1)) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_each_request_of_a_session_has_the_next_epoch() -> None:
    cache = Cache()
    session_id = cache.open(0)
    for epoch in (2, -2, EPOCH_MAX):
        assert cache.refusal(a_request(session_id=session_id, epoch=epoch)) == ErrorCode.INVALID_FETCH_SESSION_EPOCH
    assert cache.go_on(session_id, 1) == session_id
    assert cache.refusal(a_request(session_id=session_id, epoch=1)) == ErrorCode.INVALID_FETCH_SESSION_EPOCH
    assert cache.go_on(session_id, 2) == session_id


def test_the_epoch_after_the_last_is_one() -> None:
    cache = Cache()
    session_id = cache.open(0)
    cache.session(session_id).epoch = EPOCH_MAX
    assert cache.go_on(session_id, EPOCH_MAX) == session_id
    assert cache.go_on(session_id, 1) == session_id


@pytest.mark.parametrize("by_id", [False, True])
def test_names_and_ids_do_not_mix(by_id: bool) -> None:
    cache = Cache()
    scope = cache.sessions.resolve(a_request(0, epoch=0), by_id=by_id)
    session_id = scope.settle([])
    request = a_request(session_id=session_id, epoch=1)
    assert cache.refusal(request, by_id=not by_id) == ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
    assert cache.sessions.resolve(request, by_id=by_id).is_incremental


@pytest.mark.parametrize("epoch", [-1, 0])
def test_a_full_fetch_closes_the_session_that_it_names(epoch: int) -> None:
    cache = Cache()
    old = cache.open(0, 1, 2)
    new = cache.sessions.resolve(a_request(7, session_id=old, epoch=epoch), by_id=False).settle([])
    assert (new == 0) == (epoch == -1)
    assert cache.refusal(a_request(session_id=old, epoch=1)) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert cache.counts == ((1, 1, 0) if new else (0, 0, 0))


def test_a_request_adds_changes_and_forgets() -> None:
    cache = Cache()
    session_id = cache.open(0, 1, 2)
    changed = FetchPartition(partition=1, fetch_offset=77)
    added = FetchPartition(partition=9, fetch_offset=5)
    request = FetchRequest(
        session_id=session_id,
        session_epoch=1,
        topics=(FetchTopic(topic="orders", partitions=(changed, added)),),
        forgotten_topics_data=(ForgottenTopic(topic="orders", partitions=(2, 44)), ForgottenTopic(topic="no such")),
    )
    scope = cache.sessions.resolve(request, by_id=False)
    assert [wanted.asked for wanted in scope.partitions.values()] == [FetchPartition(partition=0), changed, added]
    assert cache.counts == (1, 3, 0)


def test_what_is_asked_for_and_forgotten_at_once_is_forgotten() -> None:
    """As in Kafka, which forgets last."""
    cache = Cache()
    session_id = cache.open(0, 1)
    request = a_request(1, session_id=session_id, epoch=1, forget=[1])
    assert list(cache.sessions.resolve(request, by_id=False).partitions) == [("orders", 0)]


def test_a_session_that_reads_nothing_any_more_is_closed() -> None:
    cache = Cache()
    session_id = cache.open(0, 1)
    assert cache.go_on(session_id, 1, forget=[0, 1]) == 0
    assert cache.counts == (0, 0, 0)
    assert cache.refusal(a_request(session_id=session_id, epoch=2)) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_a_partition_named_twice_is_one_with_the_last_word() -> None:
    """F-5, as in Kafka."""
    first, other, last = (
        FetchPartition(partition=index, fetch_offset=offset) for index, offset in ((3, 1), (4, 2), (3, 9))
    )
    request = FetchRequest(topics=(FetchTopic(topic="orders", partitions=(first, other, last)),))
    scope = Cache().sessions.resolve(request, by_id=False)
    assert [wanted.asked for wanted in scope.partitions.values()] == [last, other]


def test_what_gave_records_is_read_last_the_next_time() -> None:
    """F-2, F-4."""
    cache = Cache()
    session_id = cache.open(0, 1, 2)
    scope = cache.sessions.resolve(a_request(session_id=session_id, epoch=1), by_id=False)
    first, second, _ = scope.partitions.values()
    told = [(first, PartitionData(high_watermark=9, records=b"some")), (second, PartitionData(high_watermark=9))]
    assert scope.settle(told) == session_id
    scope = cache.sessions.resolve(a_request(session_id=session_id, epoch=2), by_id=False)
    assert [index for _, index in scope.partitions] == [1, 2, 0]


def test_a_request_that_was_overtaken_is_not_settled() -> None:
    cache = Cache()
    session_id = cache.open(0)
    scope = cache.sessions.resolve(a_request(session_id=session_id, epoch=1), by_id=False)
    before = scope.is_overtaken
    assert cache.go_on(session_id, 2) == session_id
    assert (before, scope.is_overtaken, scope.session_id) == (False, True, session_id)


DATA = PartitionData(high_watermark=5, last_stable_offset=4, log_start_offset=1, records=b"")


@pytest.mark.parametrize(
    ("data", "is_news"),
    [
        (DATA, False),
        (PartitionData(high_watermark=5, last_stable_offset=4, log_start_offset=1, records=b"some"), True),
        (PartitionData(high_watermark=6, last_stable_offset=4, log_start_offset=1), True),
        (PartitionData(high_watermark=5, last_stable_offset=5, log_start_offset=1), True),
        (PartitionData(high_watermark=5, last_stable_offset=4, log_start_offset=2), True),
        (
            PartitionData(
                high_watermark=5,
                last_stable_offset=4,
                log_start_offset=1,
                diverging_epoch=EpochEndOffset(epoch=0, end_offset=3),
            ),
            True,
        ),
        (PartitionData(high_watermark=5, last_stable_offset=4, log_start_offset=1, error_code=1), True),
    ],
)
def test_news_is_what_the_client_was_not_told(data: PartitionData, is_news: bool) -> None:
    wanted = WantedPartition(FetchTopic(topic="orders"), FetchPartition(partition=0))
    assert wanted.is_news(DATA)
    wanted.tell(DATA)
    assert wanted.is_news(data) is is_news


def test_that_an_error_is_over_is_news() -> None:
    wanted = WantedPartition(FetchTopic(topic="orders"), FetchPartition(partition=0))
    wanted.tell(DATA)
    wanted.tell(PartitionData(error_code=ErrorCode.OFFSET_OUT_OF_RANGE, high_watermark=5))
    assert wanted.is_news(DATA)


@on_the_bench
async def test_a_deleted_partition_is_not_kept_in_memory(bench: Bench) -> None:
    wanted = WantedPartition(FetchTopic(topic="orders"), FetchPartition(partition=0))
    partition = bench.partition()
    wanted.bind(partition)
    wanted.tell(PartitionData(high_watermark=0, last_stable_offset=0, log_start_offset=0))
    assert wanted.partition() is wanted.idle() is partition
    partition.detach()
    assert (wanted.partition(), wanted.idle(), wanted.is_bound) == (None, None, True)
    del partition
    assert (wanted.partition(), wanted.idle(), wanted.is_bound) == (None, None, True)


@pytest.mark.parametrize(
    ("current", "fetched", "is_idle"),
    [(-1, -1, True), (0, 0, True), (0, -1, True), (1, -1, False), (-1, 1, False)],
)
def test_idle_is_who_is_at_the_end_and_knows_it(current: int, fetched: int, is_idle: bool) -> None:
    @on_the_bench
    async def look(bench: Bench) -> None:
        partition = bench.partition()
        asked = FetchPartition(partition=0, fetch_offset=1, current_leader_epoch=current, last_fetched_epoch=fetched)
        wanted = WantedPartition(FetchTopic(topic="orders"), asked)
        wanted.bind(partition)
        bench.produce(partition)
        await bench.settle()
        assert wanted.idle() is None, "nothing has been told yet"
        wanted.tell(PartitionData(high_watermark=1, last_stable_offset=1, log_start_offset=0))
        assert (wanted.idle() is partition) is is_idle
        bench.produce(partition)
        await bench.settle()
        assert wanted.idle() is None

    look()


# Room


def test_without_slots_there_are_no_sessions() -> None:
    cache = Cache(slots_max=0)
    assert cache.open(0) == 0
    assert cache.counts == (0, 0, 0)


def test_a_full_cache_gives_no_session_while_all_are_in_use() -> None:
    cache = Cache(slots_max=2)
    first, second = cache.open(0), cache.open(0)
    cache.clock.now += IDLE_S_MAX
    assert cache.open(*range(100)) == 0
    assert [cache.go_on(session, 1) for session in (first, second)] == [first, second]
    assert cache.counts == (2, 2, 0)


def test_the_least_recently_used_of_the_idle_is_evicted_first() -> None:
    cache = Cache(slots_max=2)
    first, second = cache.open(0, 1, 2), cache.open(0, 1, 2)
    cache.clock.now += 1
    assert cache.go_on(first, 1) == first
    cache.clock.now += IDLE_S_MAX
    third = cache.open(0)
    assert third
    assert cache.counts == (2, 4, 1)
    assert cache.refusal(a_request(session_id=second, epoch=1)) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert cache.go_on(first, 2) == first
    assert cache.open(0) == 0, "the first is no longer idle"


def test_an_old_session_makes_way_for_one_with_more_partitions() -> None:
    """Kafka's rule for unprivileged sessions: as many are not enough."""
    cache = Cache(slots_max=2)
    small, large = cache.open(0, 1), cache.open(*range(10))
    for epoch in (1, 2):
        cache.clock.now += IDLE_S_MAX * 0.75
        assert [cache.go_on(session, epoch) for session in (small, large)] == [small, large]
    assert cache.open(0, 1) == 0
    assert cache.open(0, 1, 2)
    assert cache.refusal(a_request(session_id=small, epoch=3)) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert cache.go_on(large, 3) == large
    assert cache.counts == (2, 13, 1)


def test_what_an_old_session_gains_or_loses_counts_when_it_is_weighed() -> None:
    cache = Cache(slots_max=2)
    grown, shrunk = cache.open(0), cache.open(*range(10))
    for epoch in (1, 2):
        cache.clock.now += IDLE_S_MAX * 0.75
        assert [cache.go_on(session, epoch) for session in (grown, shrunk)] == [grown, shrunk]
    assert cache.go_on(grown, 3, *range(20)) == grown
    assert cache.go_on(shrunk, 3, forget=range(1, 10)) == shrunk
    assert cache.counts == (2, 21, 0)
    assert cache.open(0, 1)
    assert cache.refusal(a_request(session_id=shrunk, epoch=4)) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert cache.go_on(grown, 4) == grown


def test_all_sessions_together_remember_so_many_partitions() -> None:
    cache = Cache(partitions_max=10)
    assert cache.open(*range(11)) == 0
    first, second = cache.open(*range(5)), cache.open(*range(5))
    assert min(first, second) > 0
    assert cache.open(0) == 0
    cache.clock.now += IDLE_S_MAX + 1
    assert cache.go_on(second, 1) == second
    assert cache.open(*range(6)) == 0, "the idle one has five, and is given up"
    assert cache.open(*range(5))
    assert cache.counts == (2, 10, 1)


def test_a_session_that_grows_beyond_the_room_ends_with_this_answer() -> None:
    """Session id 0 in an incremental answer tells the client that it is over; nothing that was asked is lost."""
    cache = Cache(partitions_max=10)
    session_id = cache.open(*range(5))
    request = a_request(*range(5, 11), session_id=session_id, epoch=1)
    scope = cache.sessions.resolve(request, by_id=False)
    assert len(scope.partitions) == 11
    assert scope.settle([]) == 0
    assert cache.counts == (0, 0, 0)
    session_id = cache.open(*range(5))
    assert cache.go_on(session_id, 1, *range(5, 10)) == session_id
    assert cache.counts == (1, 10, 0)


@pytest.mark.parametrize("name", ["x" * 250, "\N{GRINNING FACE}" * 249])
def test_names_that_no_topic_can_have_are_not_remembered(name: str) -> None:
    """What is remembered is bounded by its count because each is small."""
    cache = Cache()
    assert cache.open(0, topic=name) == 0
    session_id = cache.open(0)
    request = a_request(0, topic=name, session_id=session_id, epoch=1)
    assert cache.sessions.resolve(request, by_id=False).settle([]) == 0
    assert cache.counts == (0, 0, 0)


# Whether a reader with a session sees what one without would


PLACES = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1, 1, 0, 2])), st.integers(0, 4), min_size=1, max_size=4
)
"""Partitions, of which one never exists, and offsets to read from."""


class Sessions(RuleBasedStateMachine):
    """Whatever happens to topics and sessions: a client with a session knows what plain full fetches would tell it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimLoop(SEED)
        SimNetwork(self.loop)
        self.bench = Bench(self.loop)
        self.house = self.run(self.bench.serve("max.incremental.fetch.session.cache.slots=3"))
        self.client = SessionClient(by_id=False)
        self.waiting: Pending[object] | None = None
        self.waits_until = 0.0
        self.serial = 0
        self.topic_seen: dict[Name, UUID] = {}
        """Behind each name: the topic that the session has shown under it."""
        self.run(self.house.create("a", 2))
        self.run(self.house.create("b", 2))

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(by_id=st.booleans(), places=PLACES)
    def choose(self, by_id: bool, places: dict[tuple[str, int], int]) -> None:
        self.client = SessionClient(by_id=by_id)
        self.want(places)

    # The world

    @rule(topic=st.sampled_from("ab"), index=st.integers(0, 1), count=st.integers(1, 3))
    def append(self, topic: str, index: int, count: int) -> None:
        found = self.house.server.topics.by_name(topic)
        if found is None:
            return
        self.serial += 1
        values = [f"{found.topic_id} {self.serial}-{number}".encode() for number in range(count)]
        self.run(self.house.produce(topic, a_batch(values), partition=index))
        self.look_at_the_waiting()

    @rule(topic=st.sampled_from("ab"), successor=st.integers(0, 2))
    def delete(self, topic: str, successor: int) -> None:
        """`successor`: partitions of the topic that takes the name at once."""
        self.run(self.house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name=topic),))))
        if successor:
            self.run(self.house.create(topic, successor))
        self.look_at_the_waiting()

    @rule()
    def create(self) -> None:
        for topic in "ab":
            if self.house.server.topics.by_name(topic) is None:
                self.run(self.house.create(topic, 2))

    @rule(seconds=st.sampled_from([1.0, 100.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        async def wait() -> None:
            self.loop.call_later(seconds, done.set_result, None)
            await done

        done = self.loop.create_future()
        self.run(wait())
        self.look_at_the_waiting()

    @precondition(lambda self: self.client.session_id)
    @rule(partitions=st.integers(1, 6))
    def a_stranger_takes_a_slot(self, partitions: int) -> None:
        offsets = {("a", ZERO_UUID, index): 0 for index in range(partitions)}
        self.ask(FetchRequest(session_epoch=0, topics=topics_of(offsets)), 12)

    @precondition(lambda self: self.client.epoch > 2)
    @rule()
    def another_connection_goes_on_with_the_session(self) -> None:
        epoch = self.client.epoch + (self.waiting is not None)
        self.ask(FetchRequest(session_id=self.client.session_id, session_epoch=epoch), self.client.version)

    # The client

    @precondition(lambda self: self.waiting is None)
    @rule(places=PLACES)
    def want_also(self, places: dict[tuple[str, int], int]) -> None:
        self.want(places)

    def want(self, places: dict[tuple[str, int], int]) -> None:
        for (topic, index), offset in places.items():
            found = self.house.server.topics.by_name(topic)
            if not self.client.by_id:
                self.client.wanted[topic, ZERO_UUID, index] = offset
            elif found is not None:
                self.client.wanted["", found.topic_id, index] = offset

    @precondition(lambda self: self.waiting is None and len(self.client.wanted) > 1)
    @rule(pick=st.integers(0, 10))
    def want_no_more(self, pick: int) -> None:
        names = list(self.client.wanted)
        del self.client.wanted[names[pick % len(names)]]

    @precondition(lambda self: self.waiting is None and self.client.wanted)
    @rule(max_bytes=st.sampled_from([1, 200, 1 << 20]))
    def fetch(self, max_bytes: int) -> None:
        truth = self.truth(max_bytes=1 << 20)
        had_session = self.client.epoch > 0
        response = self.ask(self.client.request(max_bytes=max_bytes, max_wait_ms=0), self.client.version)
        came = self.client.take(response)
        if came is None:
            return self.fetch(max_bytes)
        if not had_session:
            self.topic_seen = {}
        expected = {name: self.expected(name, data) for name, data in truth.items()}
        assert {name: standing(data) for name, data in self.client.view.items()} == {
            name: standing(data) for name, data in expected.items()
        }
        all_there = {name: values_of(data.records or b"") for name, data in expected.items()}
        got = {name: values_of(data.records or b"") for name, data in came.items() if data.records}
        for name, values in got.items():
            assert values == all_there[name][: len(values)]
        if max_bytes == 1 << 20:
            assert got == {name: values for name, values in all_there.items() if values}
        assert bool(got) == any(all_there.values()), "somebody's first batch always comes"
        self.note(came)
        return None

    @precondition(lambda self: self.waiting is None and self.client.wanted)
    @rule()
    def drain(self) -> None:
        """However little a fetch may bring, everybody's turn comes."""
        left = sum(len(values_of(data.records or b"")) for data in self.truth(max_bytes=1 << 20).values())
        for _ in range(left + 1):
            self.fetch(1)
        assert not any(data.records for data in self.truth(max_bytes=1 << 20).values())

    @precondition(lambda self: self.waiting is None and self.client.wanted)
    @rule()
    def fetch_and_wait(self) -> None:
        expected = [self.expected(name, data) for name, data in self.truth(max_bytes=1 << 20).items()]
        is_urgent = any(data.records or data.error_code for data in expected)
        request = self.client.request(max_bytes=1 << 20, max_wait_ms=60_000)
        result = self.run(self.call(request, self.client.version))
        if isinstance(result, Pending):
            assert not is_urgent, "it waits for what is there"
            self.waiting = result
            self.waits_until = self.loop.time() + 60.0
        else:
            came = self.answered(result)
            assert came is None or is_urgent, "it has nothing to say and does not wait"

    def look_at_the_waiting(self) -> None:
        """It has its answer as soon as there is something for it, or its time is over."""
        if self.waiting is None:
            return
        response = self.waiting.response
        if response is None:
            truth = self.truth_of(self.client.sent, max_bytes=1 << 20)
            assert not any(data.records or data.error_code for data in truth.values()), "it waits for what is there"
            assert self.loop.time() < self.waits_until + 1.0
            return
        self.waiting = None
        came = self.answered(response)
        if came is not None and self.loop.time() < self.waits_until:
            assert any(data.records or data.error_code for data in came.values()), "it was woken for nothing"

    def answered(self, response: object) -> dict[Name, PartitionData] | None:
        assert isinstance(response, FetchResponse)
        had_session = self.client.epoch > 0
        came = self.client.take(response)
        if came is not None:
            if not had_session:
                self.topic_seen = {}
            self.note(came)
        return came

    # The model

    async def call(self, request: FetchRequest, version: int) -> object:
        """In the loop, where a fetch may wait."""
        return self.house.call(request, version)

    def ask(self, request: FetchRequest, version: int) -> FetchResponse:
        response = self.house.call(request, version)
        assert isinstance(response, FetchResponse)
        return response

    def truth(self, *, max_bytes: int) -> dict[Name, PartitionData]:
        return self.truth_of(self.client.wanted, max_bytes=max_bytes)

    def truth_of(self, offsets: dict[Name, int], *, max_bytes: int) -> dict[Name, PartitionData]:
        """What a full fetch without a session says now."""
        request = FetchRequest(max_bytes=max_bytes, topics=topics_of(offsets))
        return by_name(self.ask(request, self.client.version))

    def expected(self, name: Name, truth: PartitionData) -> PartitionData:
        """The same, but that a session by name says once that its topic is gone, before it shows the next one."""
        seen = None if self.client.epoch == 0 else self.topic_seen.get(name)
        found = self.house.server.topics.by_name(name[0])
        if seen is None or (found is not None and found.topic_id == seen):
            return truth
        return PartitionData(
            partition_index=name[2], error_code=3, high_watermark=-1, last_stable_offset=-1, log_start_offset=-1
        )

    def note(self, came: dict[Name, PartitionData]) -> None:
        """Never another topic's data."""
        self.topic_seen = {name: seen for name, seen in self.topic_seen.items() if name in self.client.sent}
        for name, data in came.items():
            if data.error_code in (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID):
                self.topic_seen.pop(name, None)
                continue
            found = self.house.server.topics.by_name(name[0])
            if found is not None:
                self.topic_seen.setdefault(name, found.topic_id)
            for value in values_of(data.records or b""):
                assert value is not None
                written_to = UUID(value.decode().split()[0])
                assert written_to == (name[1] if self.client.by_id else self.topic_seen.get(name, written_to))

    def teardown(self) -> None:
        self.house.server.services.delayed_fetches.finish_all()
        self.run(self.house.server.stop())
        self.loop.close()
        raise_failures(self.loop)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
