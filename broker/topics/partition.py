"""Partition: a log that is led here, with what its producers and consumers wait for.

The life of an appended batch: checked from its header (no record is decoded), stamped and *staged* by `append`;
written by `write_out` at the end of the socket read, which answers acks=1; synced by the flusher's next flush, which
moves the high watermark; that answers acks=all and wakes fetches. Everything a consumer sees lies below the high
watermark, and the high watermark is the durable end (`write.caching` relaxes it to the page cache).

Invariants: start <= high_watermark <= log.end_offset; waiters are answered in offset order, each exactly once.
"""

import asyncio
import logging
from typing import Protocol
from uuid import UUID

from ...protocol.errors import CorruptBatch, ErrorCode, RequestRefused
from ...storage.config import LogConfig
from ...storage.errors import CorruptLog, DiskFailed, LogOffline, StorageError, Unreadable
from ...storage.leader_epochs import EpochEnd
from ...storage.log import Fetched, Flush, Log, TimestampOffset
from ..metrics import DamagedPlace, Metrics
from .failed_reads import FailedReads
from .flusher import DurableWaiter, DurableWaiters, Flusher
from .produced_batch import admit

logger = logging.getLogger(__name__)

ACKS_ALL = -1


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
        self._writes_fail = False
        self._reported: dict[tuple[str, int], DamagedPlace] = {}
        """Damage that was told of already, by file and position: clients ask again and again."""
        self._unread: set[tuple[str, int]] = set()
        """Those of them that the disk did not give."""
        self._failed_reads = FailedReads()
        if log.quarantined is not None:
            self._note(log.quarantined)
        self._flush_timer: asyncio.TimerHandle | None = None

    @property
    def log_start_offset(self) -> int:
        """The first offset that can be read."""
        return self.log.start_offset

    @property
    def is_empty(self) -> bool:
        """There is nothing to read; of a lost log nobody knows."""
        return self.log.start_offset == self.high_watermark and not self.log.recovered.lost

    @property
    def log_end_offset(self) -> int:
        """What consumers and monitoring know as the end: the high watermark."""
        return self.high_watermark

    @property
    def last_stable_offset(self) -> int:
        """What read_committed consumers see ends here; no transaction is ever open, so it is the high watermark."""
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

    @property
    def is_offline(self) -> bool:
        """It takes no records: its disk failed, or its log is damaged."""
        return self.log.offline

    @property
    def is_lost(self) -> bool:
        """Nothing of its log could be opened: whatever is asked of it is refused."""
        return self.log.recovered.lost

    @property
    def is_quarantined(self) -> bool:
        """What was durable in its log is damaged."""
        return self.log.quarantined is not None

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
            records, header = admit(records, config, now_ms=now_ms)
        except CorruptBatch:
            self._metrics.crc_errors += 1
            raise
        append_time_ms = -1
        if config.message_timestamp_type == "LogAppendTime":
            append_time_ms = self.log.append_time(now_ms)  # which the log stamps
        if header.producer_id >= 0:
            first = self.log.producers.duplicate_of(header)
            if first is not None:
                # KIP-98: the answer that the first attempt got, and no sooner: it may not be durable yet [I-2, B-21].
                self._staged.append((self.log.end_offset, acks, waiter))
                self._touched.touch(self)
                return first.first_offset, append_time_ms if append_time_ms < 0 else first.timestamp
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
            if acks == ACKS_ALL and end_offset > self.high_watermark:
                self._durable_waiters.add(end_offset, waiter)
            else:
                waiter(None)
        if self.log.config.write_caching:
            self._advance(self.log.written_offset, self._bytes_written)
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        """Now, or under `write.caching` when enough waits, or has waited long enough."""
        config = self.log.config
        if not config.write_caching or self.log.written_offset - self.log.recovery_point >= config.flush_messages:
            self._flusher.kick(self)
        elif self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(config.caching_flush_ms / 1000, self._flush_due)

    def _flush_due(self) -> None:
        self._flush_timer = None
        if not self.deleted:
            self._flusher.kick(self)

    def reconfigure(self, config: LogConfig) -> None:
        """Other settings hold from here on, also for what is written and still waits for a flush."""
        self.log.reconfigure(config)
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self.log.written_offset > self.log.recovery_point and not self.deleted and not self.log.offline:
            self._flush_in_time()

    def flush_now(self) -> None:
        """Whatever is written is made durable as soon as can be, and no timer is left."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
            self._flusher.kick(self)

    # Flushes

    def checkpoint(self) -> None:
        """Let the next flush make a checkpoint of the log, and begin it even if all is durable."""
        if not self.deleted and not self.log.offline:
            self.log.checkpoint()
            self._flusher.kick(self)

    def begin_flush(self) -> Flush | None:
        """What the next flush has to sync."""
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
        """The flush ended well: the high watermark follows the disk."""
        try:
            self.log.end_flush(flush)
        except LogOffline as error:
            self._durable_waiters.fail(error)
            return
        if not self.deleted:
            self._advance(flush.end_offset, self._bytes_flushing)

    def flush_failed(self, flush: Flush | None, error: StorageError) -> None:
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
        """KIP-320: an older epoch than ours is fenced, a newer one unknown; -1 asks for no check [L-15].

        LogOffline if the log is lost: of its epochs, as of its offsets, nothing can be said. So it is if damage hides
        which epochs there were.
        """
        self._check_not_lost()
        if epoch in (-1, self.log.leader_epoch):
            return
        self._check_epochs_known()
        if epoch < self.log.leader_epoch:
            raise RequestRefused(ErrorCode.FENCED_LEADER_EPOCH, f"leader epoch is {self.log.leader_epoch}")
        raise RequestRefused(ErrorCode.UNKNOWN_LEADER_EPOCH, f"leader epoch is {self.log.leader_epoch}")

    def read(self, offset: int, *, size_max: int, at_least_one: bool) -> Fetched:
        """Whole batches from the one that holds `offset`, below the high watermark [L-1, L-5].

        Between the high watermark and the log's end there is nothing to see yet: empty, no error.
        """
        self._check_live()
        self.log.check_offset(offset, end_offset=self.high_watermark)
        if offset >= self.high_watermark or (size_max <= 0 and not at_least_one):
            return Fetched(records=b"", base_offset=offset, next_offset=offset)
        try:
            self._failed_reads.check(offset)
            return self.log.read(offset, size_max=size_max, up_to=self.high_watermark, at_least_one=at_least_one)
        except (CorruptLog, Unreadable) as error:
            self._read_failed(offset, error)
            raise

    def find_timestamp(self, timestamp_ms: int | None) -> TimestampOffset | None:
        """The first record that consumers can see of at least that time, or (None) of the greatest there is [L-6]."""
        self._check_live()
        asked = ("time", timestamp_ms)
        try:
            self._failed_reads.check(asked)
            if timestamp_ms is None:
                return self.log.find_max_timestamp(up_to=self.high_watermark)
            return self.log.find_timestamp(timestamp_ms, up_to=self.high_watermark)
        except (CorruptLog, Unreadable) as error:
            self._read_failed(asked, error)
            raise

    def end_of_epoch(self, epoch: int) -> EpochEnd | None:
        """The largest epoch at or before `epoch`, and where it ended; None when unknown [L-15].

        Never beyond the high watermark, though Kafka tells its log's end: who asks is a consumer, it has seen nothing
        beyond, and an end that a power cut can still take back is no end to build on. What lies below the high
        watermark stays, so no position that a consumer can have looks truncated by this. LogOffline if damage hides
        which epochs there were: to a consumer an unknown one means that what it has read is gone.
        """
        self._check_epochs_known()
        end = self.log.leader_epochs.end_of(epoch, end_offset=self.log.end_offset)
        return None if end is None else EpochEnd(end.epoch, min(end.end_offset, self.high_watermark))

    def time_at(self, offset: int) -> int | None:
        """When the record at `offset` was written, in milliseconds since 1970: None if unknown, or there is no such.

        It is the time of the first record of its batch, which was written with it; no record is decoded for this.
        """
        if self.deleted or not self.log.start_offset <= offset < self.high_watermark:
            return None
        asked = ("header", offset)
        try:
            self._failed_reads.check(asked)
            header = self.log.header_of(offset)
        except StorageError as error:
            self._failed_reads.add(asked, error)
            return None  # whoever reads there is told
        time_ms = header.max_timestamp if header.is_log_append_time else header.base_timestamp
        return time_ms if time_ms >= 0 else None

    # Damage

    def _read_failed(self, asked: object, error: CorruptLog | Unreadable) -> None:
        self._failed_reads.add(asked, error)
        if isinstance(error, CorruptLog):
            self.damaged(error)
        else:
            self.unreadable(error.damage)

    def unreadable(self, place: CorruptLog) -> None:
        """The disk does not give these bytes; that does not show that they are gone, so nothing is given up for it.

        The scrubber finds out: it reads the segment again and again, and calls it damaged if it must.
        """
        self._metrics.topic_error(self.topic, "read")
        if self._note(place):
            self._unread.add((place.path, place.position))
            logger.error(
                "bytes of the log cannot be read now topic=%s partition=%d error=%s", self.topic, self.index, place
            )
            self.log.doubt(place.path)

    def sound(self, path: str) -> None:
        """All of that file was read just now, so what could not be read of it can be read again."""
        for key in [key for key in self._unread if key[0] == path]:
            self._unread.remove(key)
            self._metrics.forget_damage(self._reported.pop(key))
            self._failed_reads.clear()

    def damaged(self, damage: CorruptLog) -> None:
        """Bytes are not what was written. If they were durable, no more is accepted; what is sound is still served.

        A sync that is under way fails then, as all later ones are refused.
        """
        self.report(damage)
        if self.log.quarantined is not None or not self.log.was_durable(damage):
            return
        self._metrics.topic_error(self.topic, "quarantined")
        try:
            self.log.quarantine(damage)
        except DiskFailed as error:
            logger.error(
                "quarantined, and the next start will not know topic=%s partition=%d error=%s",
                *(self.topic, self.index, error),
            )

    def report(self, damage: CorruptLog) -> None:
        """Count damage, and tell of it once in the log."""
        self._metrics.topic_error(self.topic, "corrupt")
        place = (damage.path, damage.position)
        was_unread = place in self._unread
        self._unread.discard(place)
        if self._note(damage) or was_unread:
            logger.error("damaged bytes in the log topic=%s partition=%d error=%s", self.topic, self.index, damage)

    def _note(self, damage: CorruptLog) -> bool:
        """Let the metrics show it; whether it is new."""
        place = (damage.path, damage.position)
        if place in self._reported:
            return False
        self._reported[place] = DamagedPlace(
            topic=self.topic, partition=self.index, file=damage.path, begin=damage.position, end=damage.end
        )
        self._metrics.damaged(self._reported[place])
        return True

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
        self._check_not_lost()

    def _check_epochs_known(self) -> None:
        if not self.log.leader_epochs.is_known:
            raise LogOffline(self.log.directory, str(self.log.recovered.quarantined))

    def _check_not_lost(self) -> None:
        if self.log.recovered.lost:
            # No offset may be called out of range: its reader would go elsewhere, and never come back for the rest.
            raise LogOffline(self.log.directory, str(self.log.recovered.quarantined))
