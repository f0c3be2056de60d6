"""Partition: a log that is led here, with what its producers and consumers wait for.

The life of an appended batch: checked from its header (no record is decoded), stamped and *staged* by `append`;
written by `write_out` at the end of the socket read, which answers acks=1; synced by the flusher's next round, which
moves the high watermark; that answers acks=all and wakes fetches. Everything a consumer sees lies below the high
watermark, and the high watermark is the durable end (`write.caching` relaxes it to the page cache).

Invariants: start <= high_watermark <= log.end_offset; waiters are answered in offset order, each exactly once.
"""

import asyncio
import logging
from typing import Protocol
from uuid import UUID

from ...protocol import batch as batches
from ...protocol.batch import BatchHeader
from ...protocol.errors import CorruptBatch, ErrorCode, RequestRefused
from ...storage.config import LogConfig
from ...storage.errors import CorruptLog, LogOffline, OffsetOutOfRange, StorageError
from ...storage.log import Fetched, Flush, Log
from ..metrics import Metrics
from .flusher import DurableWaiter, DurableWaiters, Flusher

logger = logging.getLogger(__name__)

ACKS_ALL = -1
MAGIC_POSITION = 16


class FetchWaiters(Protocol):
    """Who must hear that there is more to read: `DelayedFetches`."""

    def wake(self, partition: "Partition", new_bytes: int) -> None:
        """`new_bytes` became visible in the partition, or (0) it is gone."""


class Touched(Protocol):
    """Who will call `write_out` at the end of the socket read: `Topics`."""

    def touch(self, partition: "Partition") -> None:
        """Something is staged."""


class Partition:
    """A partition of a topic. One owner: the event loop."""

    def __init__(
        self,
        log: Log,
        *,
        topic: str,
        topic_id: UUID,
        index: int,
        flusher: Flusher,
        touched: Touched,
        fetch_waiters: FetchWaiters,
        metrics: Metrics,
    ) -> None:
        self.log = log
        self.topic = topic
        self.topic_id = topic_id
        self.index = index
        self.high_watermark = log.recovery_point
        self.deleted = False
        self.records_in = self.batches_in = self.bytes_in = self.bytes_out = 0
        self._flusher = flusher
        self._touched = touched
        self._fetch_waiters = fetch_waiters
        self._metrics = metrics
        self._staged: list[tuple[int, int, DurableWaiter]] = []
        self._durable_waiters = DurableWaiters()
        self._bytes_staged = self._bytes_written = self._bytes_flushing = self._bytes_visible = 0
        self._segments_seen = log.segment_count
        self._damage_noted = self._writes_fail = False
        self._flush_timer: asyncio.TimerHandle | None = None

    @property
    def log_start_offset(self) -> int:
        """The first offset that can be read."""
        return self.log.start_offset

    @property
    def log_end_offset(self) -> int:
        """What consumers and monitoring know as the end: the high watermark."""
        return self.high_watermark

    @property
    def size_bytes(self) -> int:
        """Bytes in the log's segments."""
        return self.log.size

    @property
    def segment_count(self) -> int:
        """Segments of the log."""
        return self.log.segment_count

    @property
    def leader_epoch(self) -> int:
        """The epoch that new batches are stamped with."""
        return self.log.leader_epoch

    # Produce

    def append(self, records: memoryview, *, acks: int, now_ms: int, waiter: DurableWaiter) -> tuple[int, int]:
        """Check and stage one batch; returns its base offset and its log append time (-1 under CreateTime).

        `records` is written to: offset, epoch and append time are stamped into it, and it must live until
        `write_out`. `waiter` is told when the batch is as safe as `acks` asks for. Raises RequestRefused,
        CorruptBatch, StorageError.
        """
        self._check_live()
        config = self.log.config
        try:
            header = check_produced(records, config)
        except CorruptBatch:
            self._metrics.crc_errors += 1
            raise
        append_time_ms = -1
        if config.message_timestamp_type == "LogAppendTime":
            append_time_ms = now_ms  # the log stamps it
        base_offset = self.log.append(records, header, now_ms=now_ms)
        self._staged.append((self.log.end_offset, acks, waiter))
        self._bytes_staged += header.size
        self._touched.touch(self)
        self.records_in += header.record_count
        self.batches_in += 1
        self.bytes_in += header.size
        return base_offset, append_time_ms

    def write_out(self) -> None:
        """Write what is staged to the page cache; answers acks=1, and whoever staged it if that fails."""
        staged, self._staged = self._staged, []
        bytes_staged, self._bytes_staged = self._bytes_staged, 0
        try:
            self.log.write_out()
        except StorageError as error:
            if not self._writes_fail:
                # Once until it works again: on a full disk every retry of every client ends here.
                self._writes_fail = True
                logger.error("write failed topic=%s partition=%d error=%s", self.topic, self.index, error)
            self._metrics.topic_error(self.topic, "write")
            for _, _, waiter in staged:
                waiter(error)
            return
        self._writes_fail = False
        self._bytes_written += bytes_staged
        self._metrics.segments_rolled += self.log.segment_count - self._segments_seen
        self._segments_seen = self.log.segment_count
        for end_offset, acks, waiter in staged:
            if acks == ACKS_ALL:
                self._durable_waiters.add(end_offset, waiter)
            else:
                waiter(None)
        config = self.log.config
        if not config.write_caching:
            self._flusher.kick(self)
            return
        self._advance(self.log.written_offset, self._bytes_written)
        if self.log.written_offset - self.log.recovery_point >= config.flush_messages:
            self._flusher.kick(self)
        elif self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(config.caching_flush_ms / 1000, self._flush_due)

    def _flush_due(self) -> None:
        self._flush_timer = None
        if not self.deleted:
            self._flusher.kick(self)

    # Commit rounds

    def begin_flush(self) -> Flush | None:
        """What the next commit round has to sync."""
        if self.deleted:
            return None
        self._bytes_flushing = self._bytes_written
        try:
            return self.log.begin_flush()
        except LogOffline as error:
            # Something else has taken it offline since they were written: its durable mark, for one.
            self._durable_waiters.fail(error)
            return None

    def flushed(self, flush: Flush) -> None:
        """The round ended well: the high watermark follows the disk."""
        self.log.end_flush(flush)
        if not self.deleted:
            self._advance(flush.end_offset, self._bytes_flushing)

    def flush_failed(self, flush: Flush, error: StorageError) -> None:
        """The disk refused: the log is offline from now on, whoever waits is told, what is durable stays readable."""
        logger.error("sync failed, log offline topic=%s partition=%d error=%s", self.topic, self.index, error)
        self._metrics.topic_error(self.topic, "fsync")
        self.log.fail_flush(flush)
        self._durable_waiters.fail(error)

    def _advance(self, offset: int, bytes_visible: int) -> None:
        if offset <= self.high_watermark:
            return
        assert offset <= self.log.written_offset, "the high watermark would pass what is written"
        new_bytes, self._bytes_visible = bytes_visible - self._bytes_visible, bytes_visible
        self.high_watermark = offset
        self._durable_waiters.reached(offset)
        self._fetch_waiters.wake(self, new_bytes)

    # Fetch and ListOffsets

    def check_leader_epoch(self, epoch: int) -> None:
        """KIP-320: an older epoch than ours is fenced, a newer one unknown; -1 asks for no check [L-15]."""
        if epoch in (-1, self.log.leader_epoch):
            return
        if epoch < self.log.leader_epoch:
            raise RequestRefused(ErrorCode.FENCED_LEADER_EPOCH, f"leader epoch is {self.log.leader_epoch}")
        raise RequestRefused(ErrorCode.UNKNOWN_LEADER_EPOCH, f"leader epoch is {self.log.leader_epoch}")

    def read(self, offset: int, *, size_max: int, at_least_one: bool) -> Fetched:
        """Whole batches from the one that holds `offset`, below the high watermark [L-1, L-5].

        Between the high watermark and the log's end there is nothing to see yet: empty, no error.
        """
        self._check_live()
        if self.high_watermark < offset <= self.log.end_offset:
            return Fetched(records=b"", base_offset=offset, next_offset=offset)
        if offset > self.log.end_offset:
            raise OffsetOutOfRange(offset, self.log.start_offset, self.high_watermark)
        try:
            fetched = self.log.read(offset, size_max=size_max, up_to=self.high_watermark, at_least_one=at_least_one)
        except CorruptLog as damage:
            self._note_damage(damage)
            raise
        self.bytes_out += len(fetched.records)
        return fetched

    def _note_damage(self, damage: CorruptLog) -> None:
        # One line: clients ask again and again.
        self._metrics.topic_error(self.topic, "corrupt")
        if not self._damage_noted:
            self._damage_noted = True
            logger.error("damaged bytes in the log topic=%s partition=%d error=%s", self.topic, self.index, damage)

    # End of life

    def detach(self) -> None:
        """The topic is deleted: nothing is accepted or shown any more, and nobody is left waiting [L-14]."""
        self.deleted = True
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._durable_waiters.fail(RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "the topic was deleted"))
        self._fetch_waiters.wake(self, 0)

    def _check_live(self) -> None:
        if self.deleted:
            raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "the topic was deleted")


def check_produced(records: memoryview, config: LogConfig) -> BatchHeader:
    """What can be said of a produced batch from its header and its CRC [B-2, B-4 to B-10, B-13], in Kafka's order.

    Raises RequestRefused with the code of the rule it breaks, CorruptBatch when the bytes lie.
    """
    if len(records) > MAGIC_POSITION and records[MAGIC_POSITION] != batches.MAGIC:
        raise _refused(ErrorCode.INVALID_RECORD, "only record batches of magic 2 are accepted")
    header = batches.read_header(records)
    if header.size < len(records):
        raise _refused(ErrorCode.INVALID_RECORD, "a partition takes exactly one record batch a request")
    if header.base_offset != 0:
        raise _refused(ErrorCode.INVALID_RECORD, f"the base offset of a produced batch is 0, not {header.base_offset}")
    if header.size > config.max_message_bytes:
        raise _refused(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"the batch of {header.size} bytes exceeds max.message.bytes={config.max_message_bytes}",
        )
    batches.check(records)
    if header.record_count <= 0 or header.last_offset_delta + 1 != header.record_count:
        raise _refused(
            ErrorCode.INVALID_RECORD,
            f"record count {header.record_count} and last offset delta {header.last_offset_delta} disagree",
        )
    if header.is_control:
        raise _refused(ErrorCode.INVALID_RECORD, "clients do not write control batches")
    if header.producer_id >= 0 and header.base_sequence < 0:
        raise _refused(ErrorCode.INVALID_RECORD, "a batch with a producer id needs a base sequence")
    if header.producer_id >= 0 or header.is_transactional:
        # Accepting it would promise a deduplication that is not built: InitProducerId is not advertised either.
        raise _refused(ErrorCode.INVALID_RECORD, "this broker has no idempotent producers yet: turn idempotence off")
    if header.is_log_append_time:
        raise _refused(ErrorCode.INVALID_TIMESTAMP, "clients do not set the timestamp type LogAppendTime")
    if header.size > config.segment_bytes:
        raise _refused(
            ErrorCode.RECORD_LIST_TOO_LARGE,
            f"the batch of {header.size} bytes exceeds segment.bytes={config.segment_bytes}",
        )
    return header


def _refused(code: ErrorCode, message: str) -> RequestRefused:
    return RequestRefused(code, message)
