"""Producer ids, each handed out once in the life of the cluster [I-9].

Theory. An id that was handed out must never be handed out again, not even after kill -9, and a write for each would be
dear. So ids are taken in blocks: a fact in the metadata says that all ids below its end are taken, and only once it is
durable is the first of them handed out. What is left of a block when the broker ends is lost, which does no harm: at a
million a second they last for 292,000 years.

Invariants: next_id <= durable_end, and durable_end is below no end that was ever persisted. At most one block is being
persisted.
"""

from collections import deque
from collections.abc import Callable, Sequence

from ...protocol.errors import ErrorCode, RequestRefused
from ..metadata.records import Fact, ProducerIdsAllocated

BLOCK_SIZE = 1000
PREFETCH_BELOW = 100
"""Ids that are left when the next block is asked for: so many producers come before one has to wait for the disk."""

FactWaiter = Callable[[Exception | None], None]
AppendFacts = Callable[[Sequence[Fact], FactWaiter], None]
"""Makes facts durable and tells the waiter, in the order of the calls; it may do so at once."""
IdWaiter = Callable[[int | RequestRefused], None]

assert 0 < PREFETCH_BELOW < BLOCK_SIZE


class ProducerIdBlocks:
    """Which ids are taken and which are left. Pure: it asks for nothing and waits for nothing."""

    def __init__(self) -> None:
        self.next_id = 0
        """The id to hand out next."""
        self.durable_end = 0
        """Ids from here on are not ours yet."""
        self._asked_end = 0
        """The end of the block that is being persisted; `durable_end` when none is."""

    def replay(self, fact: ProducerIdsAllocated) -> None:
        """A fact from before the start: its ids may all have been handed out."""
        self.next_id = self.durable_end = self._asked_end = max(self.durable_end, fact.next_id)

    def take(self) -> int | None:
        """A fresh id; None when a block has to become durable first."""
        if self.next_id == self.durable_end:
            return None
        self.next_id += 1
        return self.next_id - 1

    def decide_block(self) -> ProducerIdsAllocated | None:
        """The fact to persist now; None while there are enough ids, or one is under way."""
        if self._asked_end != self.durable_end or self.durable_end - self.next_id >= PREFETCH_BELOW:
            return None
        self._asked_end = self.durable_end + BLOCK_SIZE
        return ProducerIdsAllocated(self._asked_end)

    def apply(self, fact: ProducerIdsAllocated) -> None:
        """The block that was decided is durable."""
        assert fact.next_id == self._asked_end, "blocks are persisted one after the other"
        self.durable_end = fact.next_id

    def withdraw(self) -> None:
        """The block could not be persisted. Its fact may be on the disk all the same, and is only asked for again."""
        self._asked_end = self.durable_end


class ProducerIds:
    """Hands out ids; keeps those waiting who come while there is none."""

    def __init__(self, append: AppendFacts, facts: Sequence[Fact] = ()) -> None:
        """`facts`: what the metadata said at the start, in order."""
        self._append = append
        self._blocks = ProducerIdBlocks()
        self._waiting: deque[IdWaiter] = deque()
        for fact in facts:
            if isinstance(fact, ProducerIdsAllocated):
                self._blocks.replay(fact)

    def request(self, waiter: IdWaiter) -> None:
        """Tell `waiter`, at once or as soon as a block is durable, a fresh id or why there is none."""
        self._waiting.append(waiter)
        self._serve()
        self._ask_for_block()

    def _serve(self) -> None:
        while self._waiting and (producer_id := self._blocks.take()) is not None:
            self._waiting.popleft()(producer_id)

    def _ask_for_block(self) -> None:
        fact = self._blocks.decide_block()
        if fact is not None:
            self._append([fact], lambda error: self._persisted(fact, error))

    def _persisted(self, fact: ProducerIdsAllocated, error: Exception | None) -> None:
        if error is None:
            self._blocks.apply(fact)
            self._serve()
            if self._waiting:  # more of them than a block has ids
                self._ask_for_block()
            return
        self._blocks.withdraw()
        # Kafka's own answer for an id that it has no block for: of the codes that fit, it is the one which old clients,
        # too, take for passing and try again.
        refusal = RequestRefused(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, f"no producer id can be allocated: {error}")
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            waiter(refusal)
