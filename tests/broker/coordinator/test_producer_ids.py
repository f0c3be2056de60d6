"""Producer ids: none is handed out twice, and none before its block is durable [I-9]."""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.bench import Bench, on_the_bench
from tidelog.broker.coordinator.producer_ids import (
    BLOCK_SIZE,
    PREFETCH_BELOW,
    FactWaiter,
    ProducerIdBlocks,
    ProducerIds,
)
from tidelog.broker.metadata.records import Fact, ProducerIdsAllocated, TopicDeleted
from tidelog.broker.metadata.store import MetadataStore
from tidelog.broker.topics.flusher import Flusher
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.primitives import ZERO_UUID
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import DiskFull
from tidelog.storage.log_directory import LogDirectory

FULL = DiskFull("facts", "No space left on device")


class Facts:
    """A metadata log that is told when something is durable."""

    def __init__(self) -> None:
        self.asked: list[tuple[Fact, FactWaiter]] = []
        """What is not settled yet."""
        self.durable: list[Fact] = []

    def append(self, facts: Sequence[Fact], waiter: FactWaiter) -> None:
        [fact] = facts
        self.asked.append((fact, waiter))

    def settle(self, error: Exception | None = None) -> None:
        """The oldest one is durable, or cannot be."""
        fact, waiter = self.asked.pop(0)
        if error is None:
            self.durable.append(fact)
        waiter(error)


class Ids:
    """Somebody who asks for ids."""

    def __init__(self, facts: Facts, known: Sequence[Fact] = ()) -> None:
        self.owner = ProducerIds(facts.append, known)
        self.got: list[int] = []
        self.refused: list[RequestRefused] = []

    def ask(self, count: int = 1) -> None:
        for _ in range(count):
            self.owner.request(self.heard)

    def heard(self, outcome: int | RequestRefused) -> None:
        if isinstance(outcome, RequestRefused):
            self.refused.append(outcome)
        else:
            self.got.append(outcome)


def test_who_asks_before_a_block_is_durable_waits_for_it() -> None:
    facts = Facts()
    ids = Ids(facts)
    ids.ask(3)
    assert ids.got == []
    assert [fact for fact, _ in facts.asked] == [ProducerIdsAllocated(BLOCK_SIZE)]
    facts.settle()
    assert ids.got == [0, 1, 2]


def test_the_next_block_is_asked_for_before_anybody_has_to_wait() -> None:
    facts = Facts()
    ids = Ids(facts)
    ids.ask()
    facts.settle()
    ids.ask(BLOCK_SIZE - PREFETCH_BELOW - 1)
    assert facts.asked == []
    ids.ask()
    [(fact, _)] = facts.asked
    assert fact == ProducerIdsAllocated(2 * BLOCK_SIZE)
    facts.settle()
    ids.ask(PREFETCH_BELOW)
    assert ids.got == list(range(BLOCK_SIZE + 1))


def test_more_who_wait_than_a_block_has_ids_are_served_by_the_next() -> None:
    facts = Facts()
    ids = Ids(facts)
    ids.ask(2 * BLOCK_SIZE + 1)
    for _ in range(3):
        facts.settle()
    assert ids.got == list(range(2 * BLOCK_SIZE + 1))


def test_after_a_start_ids_begin_above_all_that_were_ever_taken() -> None:
    facts = Facts()
    known: list[Fact] = [ProducerIdsAllocated(1000), TopicDeleted(ZERO_UUID), ProducerIdsAllocated(5000)]
    ids = Ids(facts, known)
    ids.ask()
    assert ids.got == [], "the rest of the last block is not known to be unused"
    facts.settle()
    assert ids.got == [5000]
    assert facts.durable == [ProducerIdsAllocated(6000)]


def test_a_block_that_cannot_be_written_is_refused_for_now_and_asked_for_again() -> None:
    facts = Facts()
    ids = Ids(facts)
    ids.ask(2)
    facts.settle(FULL)
    assert [refusal.code for refusal in ids.refused] == [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS] * 2
    assert all(refusal.code.retriable for refusal in ids.refused)
    ids.ask()
    facts.settle()
    assert ids.got == [0]


def test_a_prefetch_that_fails_disturbs_nobody() -> None:
    facts = Facts()
    ids = Ids(facts)
    ids.ask(1)
    facts.settle()
    ids.ask(BLOCK_SIZE - PREFETCH_BELOW)
    facts.settle(FULL)
    ids.ask(PREFETCH_BELOW - 1)
    assert ids.refused == []
    assert ids.got == list(range(BLOCK_SIZE))
    facts.settle()
    ids.ask()
    assert ids.got[-1] == BLOCK_SIZE


@pytest.mark.parametrize("seed", range(20))
def test_no_id_is_handed_out_twice_whenever_the_power_goes(seed: int) -> None:
    @on_the_bench
    async def scenario(bench: Bench) -> None:
        dice = bench.loop.random_for(f"test {seed}")
        handed: list[int] = []
        log = bench.log("facts")
        for _ in range(6):
            flusher = Flusher(bench.environment, bench.metrics, inline_max_s=0.0)
            store = MetadataStore(log, environment=bench.environment, flusher=flusher)
            owner = ProducerIds(store.append, list(store.replay()))
            for _ in range(dice.randrange(2500)):
                owner.request(lambda outcome: handed.append(outcome) if isinstance(outcome, int) else None)
                if dice.random() < 0.01:
                    await flusher.drain()
            bench.disk.crash()
            directory = LogDirectory.open(bench.disk, cluster_id=lambda: "never asked", now_ms=0)
            log = directory.open_log("facts", 0, LogConfig(), now_ms=0)
        assert len(handed) > 1000
        assert len(set(handed)) == len(handed)

    scenario()


class Allocation(RuleBasedStateMachine):
    """Any order of requests, writes that succeed or fail, and restarts: unique, and durable first."""

    def __init__(self) -> None:
        super().__init__()
        self.durable_end = 0
        self.maybe_end = 0
        """A write that failed may be found at a start all the same."""
        self.handed: set[int] = set()
        self.pending: ProducerIdsAllocated | None = None
        self.blocks = ProducerIdBlocks()

    @rule(count=st.integers(1, 2 * BLOCK_SIZE))
    def take(self, count: int) -> None:
        for _ in range(count):
            producer_id = self.blocks.take()
            if producer_id is None:
                break
            assert producer_id not in self.handed
            assert producer_id < self.durable_end
            self.handed.add(producer_id)

    @precondition(lambda self: self.pending is None)
    @rule()
    def ask(self) -> None:
        self.pending = self.blocks.decide_block()
        assert self.blocks.decide_block() is None

    @precondition(lambda self: self.pending is not None)
    @rule(succeeds=st.booleans())
    def settle(self, succeeds: bool) -> None:
        assert self.pending is not None
        fact, self.pending = self.pending, None
        self.maybe_end = max(self.maybe_end, fact.next_id)
        if succeeds:
            self.durable_end = fact.next_id
            self.blocks.apply(fact)
        else:
            self.blocks.withdraw()

    @rule(lucky=st.booleans())
    def restart(self, lucky: bool) -> None:
        if self.pending is not None:
            self.maybe_end, self.pending = max(self.maybe_end, self.pending.next_id), None
        if lucky:
            self.durable_end = max(self.durable_end, self.maybe_end)
        self.maybe_end = self.durable_end
        self.blocks = ProducerIdBlocks()
        self.blocks.replay(ProducerIdsAllocated(self.durable_end))

    @invariant()
    def the_end_is_ahead(self) -> None:
        assert self.blocks.next_id <= self.blocks.durable_end == self.durable_end


TestAllocation = Allocation.TestCase
TestAllocation.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
