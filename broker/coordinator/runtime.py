"""CoordinatorRuntime: runs the group coordinators on the partitions of `__consumer_offsets`.

The only file here that does anything: it creates the topic when it is first needed, reads its logs at a start, writes
what the machines decide, answers when that is durable, and keeps their timers.

A step (a request, a timer, a changed topic) is decided, written and applied without anything coming between. What it
answers leaves when its records are durable; what a step without records answers waits for the records before it, for it
has seen what they say. A record that cannot be written leaves everything as it was, and refuses whoever asked for it.
If what was written cannot be synced, it is not known what of it lasts: then the partition's groups stay without a
coordinator until the next start reads what is there.

While a partition is read at a start, COORDINATOR_LOAD_IN_PROGRESS is the answer; it is read in slices, beside all else.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from ...protocol import batch as batches
from ...protocol.errors import ErrorCode, ProtocolError, RequestRefused
from ...protocol.records import build_batch, iterate
from ...storage.errors import StorageError
from ..disk_space import MakeRoom, no_room, with_room
from ..environment import Environment
from ..request import Pending, RequestContext
from ..topics.internal_topics import OFFSETS_TOPIC
from ..topics.partition import ACKS_ALL, Partition
from ..topics.registry import Topic, TopicChange, Topics, What
from ..topics.view import RegistryView
from .decision import (
    Caller,
    Decision,
    Instant,
    Reply,
    Timer,
    TimerKey,
    UnreadableRecord,
    UnwritableRecord,
    Waiter,
)
from .group_memory import GroupMemory
from .group_partition import partition_for

if TYPE_CHECKING:
    from .group_coordinator import GroupCoordinator
    from .group_records import Record
    from .group_settings import GroupSettings
    from .rebalances import Counters

logger = logging.getLogger(__name__)

R = TypeVar("R")

Decide = Callable[["GroupCoordinator", Waiter, Instant], "Decision[Record]"]
ReadyWaiter = Callable[[RequestRefused | None], None]
"""Told when the topic is there, or why it cannot be."""

READ_SIZE = 128 << 10
"""How much of a log is read in one turn of the loop."""
SMALL_SIZE = 16 << 10
"""So little that the next log may be begun in the same turn."""
LATE_MS = 1000
"""A timer that comes later than this was held up by us, and so were the heartbeats that it asks for: those go first."""
TIMERS_MIN = 1000
"""Of a shard: fewer are not worth a look."""
COMPLAINTS_S = 1.0
"""Between two lines that say the same."""
RETRY_MS = 1000
"""When a timer whose decision could not be written comes again."""

NOT_AVAILABLE = RequestRefused(ErrorCode.COORDINATOR_NOT_AVAILABLE, "The coordinator is not available.")
LOADING = RequestRefused(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, "The coordinator is loading its groups.")


def caller_of(context: RequestContext) -> Caller:
    """Who asks, as groups show it: the host as Kafka writes it."""
    host, _, _ = context.requester.peer.rpartition(":")
    return Caller(context.header.client_id or "", f"/{host}", context.version)


class _Waiting(Generic[R]):
    """Who waits for an answer; see `decision.Waiter`."""

    __slots__ = ("_refused", "pending")

    def __init__(self, refused: Callable[[RequestRefused], R]) -> None:
        self._refused = refused
        # Whoever waits by design, in a join or a sync, must not hold up the end of its connection, or of the broker.
        self.pending: Pending[R] = Pending(on_hurry=lambda: self.refuse(NOT_AVAILABLE))

    def __call__(self, response: object) -> None:
        """The answer; a later one, to a request that was hurried away, is nobody's any more."""
        if self.pending.response is None:
            self.pending(response)  # type: ignore[arg-type]  # machines answer each request with its response

    def refuse(self, error: RequestRefused) -> None:
        """There is none."""
        self(self.refusal(error))

    def refusal(self, error: RequestRefused) -> R:
        """The answer that says so."""
        return self._refused(error)


class _Batch:
    """Records that are written and not durable yet, and what is answered when they are."""

    __slots__ = ("error", "is_durable", "is_written", "replies")

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.is_written = self.is_durable = False
        self.error: Exception | None = None


class _Shard:
    """A coordinator on its partition."""

    def __init__(self, partition: Partition, machine: GroupCoordinator) -> None:
        self.partition = partition
        self.machine = machine
        self.refusal: RequestRefused | None = LOADING
        """Why nothing can be asked of it; None when it can."""
        self.timers: dict[TimerKey, asyncio.TimerHandle] = {}
        self.timers_max = TIMERS_MIN
        """When there are so many, those that have lost their meaning are looked for."""
        self.last: _Batch | None = None
        """What was written last; None once it is durable."""


class CoordinatorRuntime:
    """See above."""

    def __init__(
        self,
        topics: Topics,
        *,
        environment: Environment,
        settings: GroupSettings,
        counters: Counters,
        make_room: MakeRoom = no_room,
    ) -> None:
        self._topics = topics
        self._view = RegistryView(topics)
        self._environment = environment
        self.settings = settings
        """What holds now."""
        self._counters = counters
        self._make_room = make_room
        self._memory = GroupMemory(settings.memory_max_bytes)
        self._shards: list[_Shard] = []
        self._waiting_for_topic: list[ReadyWaiter] = []
        self._complained: dict[str, float] = {}
        """When a line was last written that whoever asks again would fill the log with."""
        self._is_stopped = False
        topics.on_change(self._topic_changed)

    # Start and stop

    def start(self) -> None:
        """Take the partitions up that are there, and begin to read them."""
        topic = self._topics.by_name(OFFSETS_TOPIC)
        if topic is not None:
            # The first requests may come meanwhile; they wait for the machines to be imported.
            asyncio.get_running_loop().call_soon(self._take_up, topic)

    def stop(self) -> None:
        """Nobody is kept waiting any more, and nothing is done by itself; what comes in is still answered."""
        self._is_stopped = True
        for shard in self._shards:
            self._cancel_timers(shard)
            self._resign(shard)

    # What handlers ask

    def submit(self, group_id: str, decide: Decide, *, refused: Callable[[RequestRefused], R]) -> Pending[R] | R:
        """Have the group's coordinator decide; `refused` makes the answer of a refusal."""
        waiting = _Waiting(refused)
        if self._shards:
            self._decide(group_id, decide, waiting)
        else:
            self.when_ready(lambda error: self._decide_then(error, group_id, decide, waiting))
        response = waiting.pending.response
        return waiting.pending if response is None else response

    def when_ready(self, waiter: ReadyWaiter) -> None:
        """Have the topic made if it is not there, and be told when it is."""
        if self._shards:
            waiter(None)
            return
        self._waiting_for_topic.append(waiter)
        if len(self._waiting_for_topic) == 1 and self._topics.by_name(OFFSETS_TOPIC) is None:
            settings = self.settings
            self._topics.create_internal(
                OFFSETS_TOPIC,
                partitions=settings.offsets_topic_num_partitions,
                configs={
                    "segment.bytes": str(settings.offsets_topic_segment_bytes),
                    "compression.type": "producer",
                },
                waiter=self._topic_created,
            )

    def shards(self) -> Sequence[GroupCoordinator]:
        """The coordinators, to be looked at only; without those of `unavailable`.

        Raises RequestRefused while one of them is loading.
        """
        if not self._shards and self._topics.by_name(OFFSETS_TOPIC) is not None:
            raise _anew(LOADING)  # it is taken up in a moment
        if any(shard.refusal is LOADING for shard in self._shards):
            raise _anew(LOADING)
        return self.available()

    def available(self) -> Sequence[GroupCoordinator]:
        """The coordinators that can be looked at now; for those who would rather see a part than nothing."""
        return [shard.machine for shard in self._shards if shard.refusal is None]

    def unavailable(self) -> Sequence[int]:
        """The partitions that could not be read or written, whose groups stay without a coordinator."""
        return [shard.partition.index for shard in self._shards if shard.refusal is NOT_AVAILABLE]

    def is_unavailable(self, group_id: str) -> bool:
        """Whether the group, if there is one of this name, is of such a partition."""
        return bool(self._shards) and self._shard_of(group_id).refusal is NOT_AVAILABLE

    # The topic

    def _topic_created(self, outcome: Topic | Exception) -> None:
        if isinstance(outcome, Exception):  # else it has been taken up already
            self._complain(logging.ERROR, "%s could not be created error=%s", OFFSETS_TOPIC, str(outcome))
            self._tell(NOT_AVAILABLE)

    def _tell(self, error: RequestRefused | None) -> None:
        waiting, self._waiting_for_topic = self._waiting_for_topic, []
        for waiter in waiting:
            waiter(error)

    def _topic_changed(self, change: TopicChange) -> None:
        if change.name == OFFSETS_TOPIC:
            topic = self._topics.by_name(OFFSETS_TOPIC)
            if change.what is What.CREATED and topic is not None:
                self._take_up(topic)
            return
        is_deleted = change.what is What.DELETED
        for shard in self._shards:
            if shard.refusal is None:
                self._go_on(shard, shard.machine.topic_changed(change.name, is_deleted=is_deleted))

    def _take_up(self, topic: Topic) -> None:
        # Not before: a broker without groups need not wait at its start for all the messages of their APIs.
        from .group_coordinator import GroupCoordinator

        # All of them before anything else: how many there are says where each group is.
        self._shards = [
            _Shard(
                partition,
                GroupCoordinator(
                    self.settings,
                    self._view,
                    new_member_id=self._new_member_id,
                    counters=self._counters,
                    memory=self._memory,
                ),
            )
            for partition in topic.partitions
        ]
        unread: deque[_Shard] = deque()
        for shard in self._shards:
            if shard.partition.is_empty:
                self._loaded(shard)  # who has just had the topic made need not come again
            else:
                unread.append(shard)
        self._load_each(unread)
        self._tell(None)

    def _new_member_id(self) -> str:
        """Sixteen random bytes in url-safe base64, as Kafka's ids are."""
        return base64.urlsafe_b64encode(self._environment.random.randbytes(16)).decode().rstrip("=")

    # Reading at a start

    def _load_each(self, unread: deque[_Shard]) -> None:
        """One after the other, so that all of them together take no more of a turn of the loop than one."""
        while unread:
            shard = unread.popleft()
            if not self._load_next(
                shard, unread, shard.partition.log_start_offset, began=self._environment.monotonic()
            ):
                return

    def _load_next(self, shard: _Shard, unread: deque[_Shard], offset: int, *, began: float) -> bool:
        """Read a slice; whether the next shard can follow in this turn. Else it follows by itself."""
        partition, end = shard.partition, shard.partition.high_watermark
        if self._is_stopped:
            return False
        later = asyncio.get_running_loop().call_soon
        try:
            fetched = partition.read(offset, size_max=READ_SIZE, at_least_one=True)
            for record in _records_of(fetched.records, offset, shard.machine.decode):
                shard.machine.apply(record)
        except Exception as error:  # whatever it is: to leave the record out would be to guess who has read what
            is_foreseen = isinstance(error, StorageError | ProtocolError | UnreadableRecord)
            line = "groups cannot be read topic=%s partition=%d error=%s"
            logger.error(line, OFFSETS_TOPIC, partition.index, error, exc_info=not is_foreseen)
            shard.refusal = NOT_AVAILABLE
            later(self._load_each, unread)
            return False
        if fetched.next_offset < end:
            later(partial(self._load_on, shard, unread, fetched.next_offset, began=began))
            return False
        facts = (partition.index, len(shard.machine.groups), end, self._environment.monotonic() - began)
        logger.info("groups read partition=%d groups=%d records=%d seconds=%.3f", *facts)
        self._loaded(shard)
        if len(fetched.records) < SMALL_SIZE:
            return True
        later(self._load_each, unread)
        return False

    def _load_on(self, shard: _Shard, unread: deque[_Shard], offset: int, *, began: float) -> None:
        if self._load_next(shard, unread, offset, began=began):
            self._load_each(unread)

    def _loaded(self, shard: _Shard) -> None:
        shard.refusal = None
        try:
            for group_id in shard.machine.groups:
                shard.machine.weigh(group_id)
            self._perform_each(shard, shard.machine.loaded(self._instant()))
        except Exception:
            logger.exception("groups cannot be taken up partition=%d", shard.partition.index)
            shard.refusal = NOT_AVAILABLE
            self._cancel_timers(shard)

    # Steps

    def _decide_then(self, error: RequestRefused | None, group_id: str, decide: Decide, waiting: _Waiting[R]) -> None:
        if error is None:
            self._decide(group_id, decide, waiting)
        else:
            waiting.refuse(error)

    def _decide(self, group_id: str, decide: Decide, waiting: _Waiting[R]) -> None:
        shard = self._shard_of(group_id)
        if shard.refusal is not None:
            waiting.refuse(shard.refusal)
            return
        try:
            decision = decide(shard.machine, waiting, self._instant())
        except RequestRefused as error:
            if shard.last is None:
                waiting.refuse(error)
            else:  # it rests on what is not durable yet
                shard.last.replies.append(Reply(waiting, waiting.refusal(error)))
            return
        refusal = self._perform(shard, decision)
        shard.machine.weigh(group_id)
        if refusal is not None:
            waiting.refuse(refusal)

    def _perform_each(self, shard: _Shard, decisions: Iterable[Decision[Record]]) -> None:
        for decision in decisions:
            self._perform(shard, decision)
            for group_id in {record.group_id for record in decision.records}:
                shard.machine.weigh(group_id)

    def _perform(self, shard: _Shard, decision: Decision[Record]) -> RequestRefused | None:
        """Write, apply, answer; returns why nothing has happened, if nothing has."""
        refusal = None
        if decision.records:
            try:
                self._write(shard, decision.records)
            except RequestRefused as error:
                refusal = error
            else:
                for record in decision.records:
                    shard.machine.apply(record)
        for timer in decision.timers:
            if refusal is None or shard.machine.heeds(timer.key):  # else it is of somebody who was not let in
                self._set_timer(shard, timer)
        if refusal is not None:
            return refusal
        if shard.last is not None:
            shard.last.replies.extend(decision.replies)
        else:
            _answer(decision.replies)
        return None

    def _write(self, shard: _Shard, records: Iterable[Record]) -> None:
        """All of them, in one batch, at once. Raises RequestRefused."""
        wall_ms = self._environment.now_ms()
        try:
            batch = with_room(self._make_room, lambda: self._written(shard, records, wall_ms))
        except (StorageError, ProtocolError, RequestRefused, UnwritableRecord) as error:
            line = "decision not written partition=%d error=%s"
            self._complain(logging.WARNING, line, shard.partition.index, str(error))
            if isinstance(error, StorageError):
                raise _anew(NOT_AVAILABLE) from error
            # It is larger than a record can be, which the next attempt will not change.
            raise RequestRefused(ErrorCode.INVALID_REQUEST, str(error)) from error
        batch.is_written = True
        if not batch.is_durable:
            shard.last = batch

    def _written(self, shard: _Shard, records: Iterable[Record], wall_ms: int) -> _Batch:
        """The batch, in the page cache. Raises StorageError, ProtocolError, RequestRefused, UnwritableRecord."""
        batch = _Batch()
        data = build_batch((*shard.machine.encode(record), (), wall_ms) for record in records)
        waiter = partial(self._durable, shard, batch)
        shard.partition.append(memoryview(data), acks=ACKS_ALL, now_ms=wall_ms, waiter=waiter)
        shard.partition.write_out()
        if batch.error is not None:
            raise batch.error
        return batch

    def _complain(self, level: int, line: str, *facts: object, is_defect: bool = False) -> None:
        """Write a line that every further request could be a reason for, once a second."""
        now = self._environment.monotonic()
        if now >= self._complained.get(line, now):
            self._complained[line] = now + COMPLAINTS_S
            logger.log(level, line, *facts, exc_info=is_defect)

    def _durable(self, shard: _Shard, batch: _Batch, error: Exception | None) -> None:
        if not batch.is_written:
            batch.error, batch.is_durable = error, error is None
            return
        replies, batch.replies = batch.replies, []
        if shard.last is batch:
            shard.last = None
        if error is None:
            _answer(replies)
            return
        for reply in replies:
            reply.waiter.refuse(NOT_AVAILABLE)
        if shard.refusal is None:
            logger.error(
                "groups without coordinator until a restart partition=%d error=%s", shard.partition.index, error
            )
            shard.refusal = NOT_AVAILABLE
            self._cancel_timers(shard)
            self._resign(shard)

    # Timers

    def _instant(self) -> Instant:
        return Instant(int(asyncio.get_running_loop().time() * 1000), self._environment.now_ms())

    def _set_timer(self, shard: _Shard, timer: Timer, *, is_put_off: bool = False) -> None:
        if self._is_stopped:
            return
        handle = shard.timers.get(timer.key)
        if handle is not None:
            handle.cancel()
        elif len(shard.timers) >= shard.timers_max:
            self._sweep_timers(shard)
        loop = asyncio.get_running_loop()
        shard.timers[timer.key] = loop.call_at(timer.at_ms / 1000, self._due, shard, timer, is_put_off)

    def _due(self, shard: _Shard, timer: Timer, is_put_off: bool) -> None:
        del shard.timers[timer.key]
        now = self._instant()
        # Rounded to milliseconds the clock may stand just before the time for which the loop was told to call.
        at = now._replace(now_ms=max(now.now_ms, timer.at_ms))
        if at.now_ms - timer.at_ms > LATE_MS and not is_put_off:
            self._set_timer(shard, Timer(timer.key, at.now_ms + LATE_MS), is_put_off=True)
            return
        again = Timer(timer.key, at.now_ms + RETRY_MS)
        try:
            decisions = shard.machine.timer_due(timer.key, at)
            if not timer.key.group_id:
                self._go_on(shard, decisions)
                return
            for decision in decisions:
                if self._perform(shard, decision) is not None:
                    self._set_timer(shard, again)
                    break
            shard.machine.weigh(timer.key.group_id)
        except Exception:  # noqa: BLE001 - it is logged; one group must not end the timers of others, nor its own
            self._complain(logging.ERROR, "timer failed kind=%s", timer.key.kind, is_defect=True)
            self._set_timer(shard, again)

    def _go_on(self, shard: _Shard, decisions: Iterator[Decision[Record]]) -> None:
        """What concerns many groups: a decision in each turn of the loop. One that cannot be written is left out."""
        if self._is_stopped or shard.refusal is not None:
            return
        try:
            decision = next(decisions, None)
            if decision is None:
                return
            self._perform_each(shard, [decision])
        except Exception:  # noqa: BLE001 - it is logged; the next decision is another group's
            self._complain(logging.ERROR, "decision failed partition=%d", shard.partition.index, is_defect=True)
        asyncio.get_running_loop().call_soon(self._go_on, shard, decisions)

    def _sweep_timers(self, shard: _Shard) -> None:
        """Machines do not take timers back: those of members that have left are kept no longer than they do no harm."""
        for key in [key for key in shard.timers if not shard.machine.heeds(key)]:
            shard.timers.pop(key).cancel()
        shard.timers_max = max(TIMERS_MIN, 2 * len(shard.timers))

    def _cancel_timers(self, shard: _Shard) -> None:
        for handle in shard.timers.values():
            handle.cancel()
        shard.timers.clear()

    def _resign(self, shard: _Shard) -> None:
        for decision in shard.machine.resign(ErrorCode.COORDINATOR_NOT_AVAILABLE):
            _answer(decision.replies)

    def _shard_of(self, group_id: str) -> _Shard:
        return self._shards[partition_for(group_id, len(self._shards))]


def _anew(refusal: RequestRefused) -> RequestRefused:
    """To be raised: an exception that is raised again and again remembers each time, with all that was at hand."""
    return RequestRefused(refusal.code, refusal.message)


def _answer(replies: Iterable[Reply]) -> None:
    for reply in replies:
        reply.waiter(reply.response)


def _records_of(
    data: batches.Buffer, first: int, decode: Callable[[bytes, bytes | None], Record | None]
) -> Iterator[Record]:
    """The records from an offset on. Raises UnreadableRecord, ProtocolError."""
    for position, header in batches.walk(data):
        for record in iterate(memoryview(data)[position : position + header.size]):
            if record.offset < first or record.key is None:
                continue
            known = decode(record.key, record.value)
            if known is None:
                logger.warning(
                    "record of an unknown kind left out offset=%d key=%s", record.offset, record.key[:20].hex()
                )
            else:
                yield known
