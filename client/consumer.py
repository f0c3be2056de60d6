"""Reads topics as a member of a group, which shares their partitions among its members and remembers how far it came.

The group assigns (KIP-848). The consumer joins when it is entered, and heartbeats run in the background until it is
left, whatever the program does between two records. A record, or batch, is *in hand* from when it is handed out until
the next is asked for; then it is finished. What is finished is committed in the background every `commit_interval`,
before a partition is given up, and when the consumer is left: commits cost no round trip per record.

When the group takes a partition away, no more of it is handed out; what is in hand is finished first, for which there
is time up to the rebalance timeout; then what is finished is committed, `on_revoke` called, and the group told. When
the group took the consumer for dead, what it holds is dropped, `on_lost` called (or `on_revoke`), and it joins anew;
nothing of that time is committed later. A program that may have been frozen is handed nothing out before the group is
heard again.

One loop at a time reads a consumer: a second one ends the first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from .cluster import Cluster
from .deserializers import Deserializers
from .errors import ClientClosed, PartitionNotFound, PartitionsLost, UndecodableRecord
from .group_session import CLOSE_TIMEOUT, GroupSession
from .holdings import Holding
from .lookup import list_offsets, resolve
from .offsets import QUERY_LATEST, OffsetSpec, parse_offset
from .records import ConsumerRecord, TopicPartition

K = TypeVar("K")
V = TypeVar("V")

OnDecodeError = Callable[[UndecodableRecord], Awaitable[None] | None]

_log = logging.getLogger(__name__)


class Batch(Generic[K, V]):
    """Records that are handed out together, each partition's in its order."""

    def __init__(self, records: list[ConsumerRecord[K, V]], ends: dict[Holding, int], consumer: Consumer[K, V]) -> None:
        self.records = records
        self.ends = ends
        """Up to where each partition is done when the batch is."""
        self._consumer = consumer

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[ConsumerRecord[K, V]]:
        return iter(self.records)

    def __getitem__(self, index: int) -> ConsumerRecord[K, V]:
        return self.records[index]

    async def commit(self) -> None:
        """The batch is finished; returns when the group knows it durably. Raises like `Consumer.commit`."""
        await self._consumer.commit_batch(self)


class Consumer(Generic[K, V]):
    """Reads records for a group; made by `Client.consumer` and used as an asynchronous context manager."""

    def __init__(
        self,
        cluster: Cluster,
        session: GroupSession,
        *,
        deserializers: Deserializers[K, V],
        on_decode_error: OnDecodeError | str = "raise",
    ) -> None:
        if on_decode_error not in ("raise", "skip") and not callable(on_decode_error):
            raise ValueError(f"on_decode_error is 'raise', 'skip' or a callable, not {on_decode_error!r}")
        self.skipped = 0
        """Undecodable records that were left out, because on_decode_error="skip" says so."""
        self._cluster = cluster
        self._deserializers = deserializers
        self._on_decode_error = on_decode_error
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._holdings = session.holdings
        self._batch: Batch[K, V] | None = None
        """What is in hand, if it is a batch."""
        self._iterations = 0
        self._was_entered = False

    # Coming and going

    async def __aenter__(self) -> Self:
        """Raises what the group has against this member."""
        if self._was_entered:
            raise ClientClosed("a consumer is entered once: make another one with client.consumer(...)")
        self._was_entered = True
        try:
            await self._session.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Commit and leave the group. What is in hand is finished, unless there is an exception.

        Raises what has gone wrong unseen, such as a last commit that was refused, unless there is an exception.
        """
        if kind is not None:
            await self.close()
            return
        self._session.finish()
        await self.close(timeout=self._cluster.config.timeout)
        self._session.tell()

    async def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Commit what is finished and leave the group; what is in hand is not finished."""
        await self._session.close(timeout=timeout)

    # Reading

    async def __aiter__(self) -> AsyncIterator[ConsumerRecord[K, V]]:
        """Records, for ever."""
        mine = self._begin()
        session, read = self._session, self._deserializers.read
        while True:
            self._next(mine)
            record = session.take()
            if record is None:
                await session.load()
                continue
            session.working()
            try:
                decoded = read(record)
            except UndecodableRecord as error:
                await self._undecodable(error)
                continue
            yield decoded

    async def batches(self, *, max_records: int = 500, max_wait: float = 0.2) -> AsyncIterator[Batch[K, V]]:
        """Records in batches, for ever, of all partitions together.

        A batch is complete when it has `max_records`, or `max_wait` seconds after its first record has come.
        """
        if max_records < 1 or not max_wait >= 0:
            raise ValueError(f"a batch has at least one record and waits for 0 s or longer: {max_records}, {max_wait}")
        mine = self._begin()
        while True:
            self._next(mine)
            records, ends = await self._gather(max_records, max_wait)
            if records:
                self._session.working()
                self._batch = Batch(records, ends, self)
                yield self._batch

    async def commit(self) -> None:
        """All that was handed out is finished; returns when the group knows it durably.

        Raises PartitionsLost if some of it was given to others before. Called by `on_revoke`, which may run while a
        record of another partition is in hand, it leaves what is in hand alone.
        """
        lost: list[TopicPartition] = []
        if not self._session.is_called:
            self._session.check()
            lost = self._session.finish()
        await self._session.commit()
        if lost:
            raise PartitionsLost(lost)

    async def commit_batch(self, batch: Batch[K, V]) -> None:
        """See `Batch.commit`."""
        if batch is self._batch:
            self._session.finish()
            self._batch = None
        await self._session.commit(batch.ends)

    # Looking and steering

    @property
    def assignment(self) -> list[TopicPartition]:
        """The partitions that are this consumer's now."""
        return sorted(self._holdings.by_name)

    @property
    def member_id(self) -> str:
        """How the group calls this consumer."""
        return self._session.membership.identity.member_id

    def position(self, topic: str, partition: int) -> int:
        """The offset of the record of this partition that is handed out next."""
        return self._holdings.position(self._holding(topic, partition))

    async def lag(self) -> dict[TopicPartition, int]:
        """For each partition, how many offsets lie between what is handed out next and the end."""
        found: dict[TopicPartition, int] = {}
        for topic, partitions in _by_topic(self._holdings.by_name).items():
            ends = await list_offsets(self._cluster, topic, dict.fromkeys(partitions, QUERY_LATEST))
            for partition in partitions:
                name = TopicPartition(topic, partition)
                holding = self._holdings.by_name.get(name)
                if holding is not None:
                    found[name] = max(0, ends[partition].offset - self._holdings.position(holding))
        return found

    def pause(self, topic: str, partition: int) -> None:
        """Hand out no more of this partition until `resume`, or until it is assigned anew."""
        self._holdings.pause(self._holding(topic, partition), is_paused=True)

    def resume(self, topic: str, partition: int) -> None:
        """Hand out records of this partition again."""
        self._holdings.pause(self._holding(topic, partition), is_paused=False)
        self._session.changed()

    async def seek(self, topic: str, partition: int, offset: OffsetSpec) -> int:
        """Go on elsewhere in one partition, also before what is committed; returns the offset."""
        self._holding(topic, partition)
        query = parse_offset(offset, now_ms=self._cluster.config.now_ms())
        target = (await resolve(self._cluster, topic, {partition: query}))[partition]
        self._holdings.place(self._holding(topic, partition), target)
        self._session.changed()
        return target

    # Inside

    def _holding(self, topic: str, partition: int) -> Holding:
        holding = self._holdings.by_name.get(TopicPartition(topic, partition))
        if holding is None:
            raise PartitionNotFound(f"{topic}[{partition}] is not assigned to this consumer")
        return holding

    def _begin(self) -> int:
        self._iterations += 1
        return self._iterations

    def _next(self, mine: int) -> None:
        """The next record is asked for, so the one before is finished."""
        if mine != self._iterations:
            raise ClientClosed("another loop has begun to read the consumer, and only one can")
        self._session.finish()
        self._batch = None

    async def _undecodable(self, error: UndecodableRecord) -> None:
        """Do with a record what the program wants; if it is raised, it is the next to be handed out."""
        if callable(self._on_decode_error):
            try:
                answer = self._on_decode_error(error)
                if answer is not None:
                    await answer
            except BaseException:
                self._holdings.put_back()
                raise
        elif self._on_decode_error == "skip":
            self.skipped += 1
            _log.warning("group %s skips a record: %s", self._session.membership.identity.group_id, error)
        else:
            self._holdings.untake()
            raise error

    async def _gather(self, max_records: int, max_wait: float) -> tuple[list[ConsumerRecord[K, V]], dict[Holding, int]]:
        session, holdings = self._session, self._holdings
        gathered: list[tuple[Holding, ConsumerRecord[K, V]]] = []
        deadline: float | None = None
        try:
            while len(gathered) < max_records:
                record = session.take()
                if record is None:
                    if deadline is not None and self._loop.time() >= deadline:
                        break
                    await session.load(deadline)
                    gathered = [one for one in gathered if session.is_deliverable(one[0])]
                    continue
                try:
                    gathered.append((holdings.source, self._deserializers.read(record)))
                except UndecodableRecord as error:
                    if gathered and self._on_decode_error == "raise":
                        holdings.untake()
                        break
                    await self._undecodable(error)
                if deadline is None:
                    deadline = self._loop.time() + max_wait
        except BaseException:
            holdings.put_back()
            raise
        gathered = [one for one in gathered if session.is_deliverable(one[0])]
        ends = {holding: holdings.position(holding) for holding, _ in gathered}
        return [record for _, record in gathered], ends


def _by_topic(names: Iterable[TopicPartition]) -> dict[str, list[int]]:
    by_topic: dict[str, list[int]] = {}
    for topic, partition in names:
        by_topic.setdefault(topic, []).append(partition)
    return by_topic
