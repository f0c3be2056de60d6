"""Carries a producer's batches to the leaders of their partitions.

One function, `_pump`, looks at what is ready and sends it; it runs whenever something may have changed: records were
added, an answer came, a connection came or went, metadata was read, a moment was reached. Batches of all partitions
that a broker leads share a request, and a few requests to one broker may be under way at once. No task waits for
anything here but metadata.

A batch that fails for a reason that may pass goes back to the front of its queue and waits, twice as long each time,
until its delivery timeout; nothing of its partition leaves before it. One whose time is over while it is in flight is
given up, too, and its answer is not listened to any more; the request keeps the time that every request has, because
one that is not answered in its time costs the connection, which others share.

An idempotent producer's batches have numbers by which the broker knows what it has already, so that one that is sent
again, because a connection broke before the answer came, is there once. The others' are sent at least once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from ..protocol.errors import ErrorCode
from ..protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from ..protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from ..protocol.primitives import INT32_MAX, ZERO_UUID, Buffer
from .batcher import Batch, Batcher, Name
from .cluster import Cluster, Topic
from .config import Address, ProducerConfig
from .connection import Connection
from .errors import (
    STALE_METADATA,
    ClientClosed,
    NotRetriable,
    Refused,
    Retriable,
    TidelogError,
    TimedOut,
    Unavailable,
    error_for,
)
from .tasks import Tasks

NO_ANSWER_OFFSET = -1

MISNUMBERED = frozenset(
    {
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.UNKNOWN_PRODUCER_ID,
        ErrorCode.INVALID_PRODUCER_EPOCH,
    }
)
"""The batch is not in the log, and does not get there under the numbers it has [I-2, I-3]."""


@dataclass(slots=True)
class _Refresh:
    """How often in a row a topic's metadata were asked for without help, and when to ask again."""

    count: int = 0
    not_before: float = 0.0


class Sender:
    """Sends what a batcher holds, until it is closed."""

    def __init__(
        self,
        cluster: Cluster,
        config: ProducerConfig,
        batcher: Batcher,
        *,
        settled: Callable[[Batch], None],
        pressed: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._batcher = batcher
        self._settled = settled
        self._pressed = pressed
        self._loop = asyncio.get_running_loop()
        self._lane = cluster.lane(self.kick)
        self._tasks = Tasks()
        self._requests: dict[Address, int] = {}
        self._reading: dict[str, asyncio.Future[Topic]] = {}
        self._is_asking_for_id = False
        self._refreshes: dict[str, _Refresh] = {}
        """Topics whose leaders are missing or do not answer."""
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.failure: BaseException | None = None
        """A mistake in this library; everything was given up because of it."""

    def kick(self) -> None:
        """Something has changed: look what can be sent, at the end of this turn of the loop."""
        if self._turn is None and not self._closed:
            self._turn = self._loop.call_soon(self._run)

    async def close(self) -> None:
        """End all work; what is not settled is given up."""
        self._closed = True
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()
        self._give_up_all(ClientClosed("the producer was closed before the record was acknowledged"))
        await self._lane.close()
        await self._tasks.stop()
        for reading in self._reading.values():  # of tasks that were cancelled before they began
            self._end_reading(reading)

    async def topic(self, name: str) -> Topic:
        """A topic's metadata, waiting for them as long as a record may wait."""
        known = self._cluster.topic(name)
        if known is not None:
            return known
        self._ask_for_id()  # meanwhile, for it will be needed
        deadline = self._loop.time() + self._config.delivery_timeout
        problem: Retriable | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await asyncio.shield(self._read_topic(name))
            except TimeoutError:
                text = f"nothing is known of topic {name!r} after {self._config.delivery_timeout:g} s"
                raise TimedOut(f"{text}: {problem}" if problem else text) from problem
            except Retriable as error:
                problem = error

    # The producer id

    def _ask_for_id(self) -> None:
        """An idempotent producer's first question to a broker, any broker."""
        if self._batcher.wants_producer_id and not self._is_asking_for_id and not self._closed:
            self._is_asking_for_id = True
            self._tasks.start(self._reads_id(), name="producer id")

    async def _reads_id(self) -> None:
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=INT32_MAX)
        try:
            self._batcher.producer_id = await self._cluster.persist(partial(self._read_id, request))
        except Retriable as error:
            for batch in self._batcher.outstanding:
                batch.last_error = error
            await asyncio.sleep(self._cluster.config.backoff_max)
        except TidelogError as error:
            self._give_up_all(error)
        finally:
            self._is_asking_for_id = False
            self.kick()

    async def _read_id(self, request: InitProducerIdRequest, timeout: float) -> int:
        response = await self._cluster.ask_once(request, InitProducerIdResponse, timeout=timeout)
        if response.error_code != ErrorCode.NONE:
            raise error_for(response.error_code, about="InitProducerId")
        return response.producer_id

    # Metadata

    def _read_topic(self, name: str) -> asyncio.Future[Topic]:
        """Read a topic's metadata, once for all who want them; `await` only behind `asyncio.shield`."""
        reading = self._reading.get(name)
        if reading is None:
            reading = self._loop.create_future()
            if self._closed:
                reading.set_exception(ClientClosed("the producer was closed"))
                return reading
            self._reading[name] = reading
            self._tasks.start(self._reads_topic(name, reading), name=f"metadata of {name}")
        return reading

    async def _reads_topic(self, name: str, reading: asyncio.Future[Topic]) -> None:
        try:
            reading.set_result(await self._cluster.read_topic(name, create=self._config.auto_create))
        except TidelogError as error:
            reading.set_exception(error)
            for batch in self._batcher.of_topic(name):
                if isinstance(error, NotRetriable):
                    self._give_up(batch, error)
                else:
                    batch.last_error = error
        finally:
            self._end_reading(reading)
            del self._reading[name]
            self.kick()

    def _end_reading(self, reading: asyncio.Future[Topic]) -> None:
        if not reading.done():
            reading.set_exception(ClientClosed("the producer was closed"))
        reading.exception()  # nobody may be waiting any more, and that is no news to report

    # Sending

    def _run(self) -> None:
        self._turn = None
        try:
            self._pump()
        except BaseException as error:
            self._break_down(error)
            raise

    def _break_down(self, error: BaseException) -> None:
        """A mistake of ours, at a root of all sending: were it let go, whoever waits would wait for ever."""
        self.failure = error
        self._closed = True
        self._give_up_all(Refused(f"the producer failed: {error!r}"))

    def _pump(self) -> None:
        now = self._loop.time()
        for batch in self._batcher.expired(now):
            self._give_up(batch, self._overdue(batch))
        if self._batcher.outstanding:
            self._ask_for_id()
        while self._send_ready(now) and self._config.is_idempotent:
            pass  # a partition's batches follow each other, a request each
        self._arm(now)

    def _send_ready(self, now: float) -> bool:
        """Send a batch of each partition that has one ready; true if any left."""
        by_leader: dict[Address, list[Batch]] = {}
        for batch in self._batcher.ready(now, hurry=self._pressed()):
            leader = self._cluster.leader(*batch.name)
            if leader is None:
                batch.last_error = Unavailable(f"{_named(batch)} has no leader", code=ErrorCode.LEADER_NOT_AVAILABLE)
                self._refresh(batch.name[0], now)
            elif self._batcher.may_go_to(batch, self._topic_id(batch.name[0])):
                by_leader.setdefault(leader, []).append(batch)
        has_sent = False
        for leader, batches in by_leader.items():
            has_sent |= self._send_to(leader, batches, now)
        return has_sent

    def _refresh(self, topic: str, now: float) -> None:
        """Read the topic's metadata again, soon if they helped the last time, later and later if they did not."""
        refresh = self._refreshes.setdefault(topic, _Refresh())
        if now >= refresh.not_before and topic not in self._reading:
            refresh.count += 1
            refresh.not_before = now + self._cluster.config.backoff(refresh.count)
            self._read_topic(topic)

    def _arm(self, now: float) -> None:
        moments = [refresh.not_before for refresh in self._refreshes.values() if refresh.not_before > now]
        if (moment := self._batcher.next_event(now)) is not None:
            moments.append(moment)
        if not moments or (self._timer is not None and self._timer.when() <= min(moments)):
            return  # a timer that is too early does no harm: it looks again
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(moments), self._reached)

    def _reached(self) -> None:
        self._timer = None
        self.kick()

    def _send_to(self, leader: Address, batches: list[Batch], now: float) -> bool:
        """Send what may go to a leader now; true if any left."""
        connection = self._lane.connection(leader)
        if connection is None:
            self._lane.connect(leader)
            if self._cluster.health(leader).failures:  # perhaps another leads by now
                for topic in dict.fromkeys(batch.name[0] for batch in batches):
                    self._refresh(topic, now)
            return False
        first = 0
        while first < len(batches):
            if not connection.writable or self._requests.get(leader, 0) >= self._config.requests_in_flight_max:
                break
            size = 0
            last = first
            while last < len(batches) and (last == first or size < self._config.request_size_max):
                size += batches[last].size
                last += 1
            self._send(connection, batches[first:last])
            first = last
        return first > 0

    def _send(self, connection: Connection, batches: Sequence[Batch]) -> None:
        by_topic: dict[str, list[PartitionProduceData]] = {}
        for batch in batches:
            topic, index = batch.name
            records: Buffer = self._batcher.take(batch)
            by_topic.setdefault(topic, []).append(PartitionProduceData(index=index, records=records))
        timeout = min(self._cluster.config.timeout, self._config.delivery_timeout)
        request = ProduceRequest(
            acks=self._config.acks,
            timeout_ms=max(1, int(timeout * 1000)),
            topic_data=tuple(
                TopicProduceData(name=topic, topic_id=self._topic_id(topic), partition_data=tuple(partitions))
                for topic, partitions in by_topic.items()
            ),
        )
        for topic in by_topic:
            self._keep_fresh(topic)
        if self._config.acks == 0:
            connection.tell(request)
            for batch in batches:
                self._deliver(batch, NO_ANSWER_OFFSET, -1)
            self.kick()  # no answer will
            return
        leader = connection.address
        self._requests[leader] = self._requests.get(leader, 0) + 1
        answer = connection.submit(request, timeout=timeout)
        answer.add_done_callback(partial(self._answered, leader, batches))

    def _topic_id(self, name: str) -> UUID:
        known = self._cluster.topic(name)
        return ZERO_UUID if known is None else known.topic_id

    def _keep_fresh(self, name: str) -> None:
        known = self._cluster.topic(name)
        if known is not None and self._cluster.is_old(known):
            self._read_topic(name)

    # Answers

    def _answered(self, leader: Address, batches: Sequence[Batch], answer: asyncio.Future[object]) -> None:
        self._requests[leader] -= 1
        if self._closed:
            return
        try:
            self._settle([batch for batch in batches if batch in self._batcher.outstanding], answer)
        except BaseException as error:
            self._break_down(error)
            raise
        self.kick()

    def _settle(self, batches: Sequence[Batch], answer: asyncio.Future[object]) -> None:
        error = answer.exception()
        if isinstance(error, TidelogError):
            for batch in batches:
                self._failed(batch, error)
        else:
            response = answer.result()
            assert isinstance(response, ProduceResponse)
            self._read_answers(batches, response)

    def _read_answers(self, batches: Sequence[Batch], response: ProduceResponse) -> None:
        answers: dict[Name, PartitionProduceResponse] = {
            (topic.name, partition.index): partition
            for topic in response.responses
            for partition in topic.partition_responses
        }
        for batch in batches:
            answer = answers.get(batch.name)
            if answer is None:
                self._failed(batch, Refused(f"{_named(batch)}: the broker's answer does not name the partition"))
            elif answer.error_code in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
                self._deliver(batch, answer.base_offset, answer.log_append_time_ms)
            else:
                self._refused(batch, answer)

    def _refused(self, batch: Batch, answer: PartitionProduceResponse) -> None:
        reasons = [answer.error_message or ""]
        reasons += [f"record {one.batch_index}: {one.batch_index_error_message}" for one in answer.record_errors[:3]]
        message = "; ".join(filter(None, reasons))
        if answer.error_code == ErrorCode.MESSAGE_TOO_LARGE:
            message = (
                f"a batch of {batch.count} records and {batch.size} bytes exceeds the topic's max.message.bytes: "
                "lower max_batch, or raise the topic's limit"
            )
        error = error_for(answer.error_code, message, about=_named(batch))
        if batch.stamp is not None and answer.error_code in MISNUMBERED:
            self._misnumbered(batch, error)
            return
        if answer.error_code in STALE_METADATA:
            self._refresh(batch.name[0], self._loop.time())
        if ErrorCode.of(answer.error_code).retriable:
            self._again(batch, error)
        else:
            self._give_up(batch, error)

    def _failed(self, batch: Batch, error: TidelogError) -> None:
        if isinstance(error, NotRetriable):
            self._give_up(batch, error)
        else:
            self._again(batch, error)

    def _misnumbered(self, batch: Batch, error: TidelogError) -> None:
        if not batch.was_first:
            # What was ahead of it comes back, too, or is given up: then this one is sent again, alone.
            self._again(batch, error, is_stored_maybe=False)
        elif self._batcher.renumber(batch, is_fenced=error.code == ErrorCode.INVALID_PRODUCER_EPOCH):
            self._again(batch, error, is_stored_maybe=False)
        else:
            text = "the broker has heard of a later epoch of this producer id; whether these records are stored, once, "
            self._give_up(batch, Refused(f"{_named(batch)}: {text}is not known: {error}", code=error.code))

    def _again(self, batch: Batch, error: TidelogError, *, is_stored_maybe: bool = True) -> None:
        at = self._loop.time() + self._cluster.config.backoff(batch.attempts)
        batch.last_error = error
        if at >= batch.deadline:
            self._give_up(batch, self._overdue(batch))
        else:
            self._batcher.retry(batch, error, at=at, is_stored_maybe=is_stored_maybe)

    def _deliver(self, batch: Batch, base_offset: int, append_time_ms: int) -> None:
        self._refreshes.pop(batch.name[0], None)
        self._batcher.settle(batch, is_delivered=True)
        try:
            batch.deliver(base_offset, append_time_ms)
        finally:
            self._settled(batch)

    def _give_up(self, batch: Batch, error: TidelogError) -> None:
        self._batcher.settle(batch)
        try:
            batch.fail(error)
        finally:
            self._settled(batch)

    def _give_up_all(self, error: TidelogError) -> None:
        for batch in list(self._batcher.outstanding):
            self._give_up(batch, error)

    def _overdue(self, batch: Batch) -> TidelogError:
        problem = batch.last_error
        if problem is None and batch.attempts:
            problem = TimedOut("the broker has not answered")
        leader = self._cluster.leader(*batch.name)
        if leader is not None and self._lane.connection(leader) is None:
            problem = self._cluster.health(leader).problem or problem
        text = f"{_named(batch)}: not delivered within {self._config.delivery_timeout:g} s"
        error = TimedOut(f"{text}; last: {problem}" if problem else text, code=problem.code if problem else None)
        error.__cause__ = problem
        return error


def _named(batch: Batch) -> str:
    topic, partition = batch.name
    return f"{topic}[{partition}]"
