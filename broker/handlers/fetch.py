"""Fetch v4-18: read record batches, waiting for enough of them.

v4 isolation level; v5 log start offset; v7 sessions (KIP-227), see `topics/fetch_sessions.py`; v9 leader epochs; v11
rack: nobody is sent elsewhere, for the one replica is here; v12 flexible, and the epoch that was fetched last, by which
a reader learns that the log has lost what it read (KIP-320) [L-15]; v13 topic ids; v15 the replica's state moved into a
tagged field; v16 the leader's address for whoever is wrong about it (KIP-951); v17 and v18 have fields for replicas
alone. Records are never decoded. What is read lies below the high watermark, and under read_committed below the last
stable offset, which is the same as long as there are no transactions.
"""

from collections.abc import Iterator
from itertools import groupby

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.fetch import (
    EpochEndOffset,
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionData,
)
from ...protocol.primitives import Buffer
from ...storage.errors import OffsetOutOfRange
from ..errors import ANSWERABLE, code_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.delayed_fetch import ParkedFetch
from ..topics.fetch_sessions import FetchScope, WantedPartition
from ..topics.partition import Partition

READ_COMMITTED = 1
BY_ID_SINCE = 13
LEADER_HINTS_SINCE = 16
LEADER_HINTED = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH)

NO_LEADER = LeaderIdAndEpoch()
NO_DIVERGENCE = EpochEndOffset()

Told = list[tuple[WantedPartition, PartitionData]]


def fetch(context: RequestContext, services: Services, request: FetchRequest) -> FetchResponse | Pending[FetchResponse]:
    """Answer at once if there is enough, an error, or no wish to wait [F-1]; else park."""
    if request.replica_id >= 0 or request.replica_state.replica_id >= 0:
        # CVE-2018-1288: whoever may fetch as a replica decides what counts as replicated. There are no replicas.
        raise RequestRefused(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "only consumers fetch here")
    try:
        scope = services.fetch_sessions.resolve(request, by_id=context.version >= BY_ID_SINCE)
    except RequestRefused as error:
        return FetchResponse(error_code=error.code)
    reading = _Reading(context, services, request, scope)
    reading.read()
    # More than it takes at the most would never be enough.
    missing = min(request.min_bytes, reading.bytes_max) - reading.bytes_there
    if request.max_wait_ms <= 0 or missing <= 0 or reading.is_urgent or not reading.room:
        return reading.answer()
    return _park(services, reading, missing=missing, wait_ms=request.max_wait_ms)


def _park(services: Services, reading: "_Reading", *, missing: int, wait_ms: int) -> Pending[FetchResponse]:
    def answer() -> None:
        reading.read()
        pending(reading.answer())

    # What was read is not kept: it is read again when it can be sent [F-6].
    parked = ParkedFetch(reading.leave(), wanted_bytes=missing, answer=answer)
    pending: Pending[FetchResponse] = Pending(
        on_abandon=lambda: services.delayed_fetches.forget(parked),
        on_hurry=lambda: services.delayed_fetches.finish(parked),
    )
    parked.fail = pending.fail
    # A client that vanished without a word is noticed when it is answered.
    wait_ms = min(wait_ms, services.config.connections_max_idle_ms)
    services.delayed_fetches.park(parked, wait_s=wait_ms / 1000)
    return pending


class _Reading:
    """One request's pass over its partitions, in their order [F-2]; may be made again after a wait."""

    __slots__ = (
        "_bytes_left",
        "_context",
        "_needs_hint",
        "_request",
        "_scope",
        "_served",
        "_services",
        "_told",
        "bytes_max",
        "bytes_there",
        "is_urgent",
        "room",
    )

    def __init__(self, context: RequestContext, services: Services, request: FetchRequest, scope: FetchScope) -> None:
        self._context = context
        self._services = services
        self._request = request
        self._scope = scope
        self._told: Told = []
        """What the answer says."""
        self._served: list[tuple[Partition, int]] = []
        """What it brings of each partition that has something, in bytes."""
        self._needs_hint = False
        """Somebody is wrong about who leads."""
        self._bytes_left = 0
        self.bytes_max = 0
        """The most that the answer may bring, but for a first batch that is larger."""
        self.bytes_there = 0
        """What could be read under the limits if batches could be cut."""
        self.is_urgent = False
        """Some partition answers with an error, or that the reader's log and ours have diverged."""
        self.room: dict[Partition, int] = {}
        """Those that could be read, and how many more bytes of each would be taken."""

    def leave(self) -> dict[Partition, int]:
        """Drop what was read; returns `room`."""
        room, self.room = self.room, {}
        self._told, self._served = [], []
        return room

    def read(self) -> None:
        """Read what there is now; nothing for a request that will be refused."""
        if self._scope.is_overtaken:
            return
        bytes_max = min(self._services.config.fetch_max_bytes, self._services.response_memory.answer_size_max)
        self.bytes_max = self._bytes_left = max(0, min(self._request.max_bytes, bytes_max))
        self.bytes_there = 0
        self.is_urgent = self._needs_hint = False
        self._served = []
        told: Told = []
        room: dict[Partition, int] = {}
        self._told, self.room = told, room
        is_incremental = self._scope.is_incremental
        for wanted in self._scope.partitions.values():
            if is_incremental:
                idle = wanted.idle()
                if idle is not None:
                    room[idle] = max(0, wanted.asked.partition_max_bytes)
                    continue
            data = self._read_partition(wanted)
            if not is_incremental or wanted.is_news(data):
                told.append((wanted, data))

    def answer(self) -> FetchResponse:
        """With what was read; the session, if there is one, goes on from here."""
        scope = self._scope
        if scope.is_overtaken:
            return FetchResponse(error_code=ErrorCode.INVALID_FETCH_SESSION_EPOCH, session_id=scope.session_id)
        for partition, size in self._served:
            partition.bytes_out += size
        return FetchResponse(
            session_id=scope.settle(self._told),
            responses=tuple(_by_topic(self._told)),
            node_endpoints=self._endpoints() if self._needs_hint else (),
        )

    def _endpoints(self) -> tuple[NodeEndpoint, ...]:
        nodes = self._services.cluster.nodes(self._context)
        return tuple(
            NodeEndpoint(node_id=node.node_id, host=node.address.host, port=node.address.port) for node in nodes
        )

    def _read_partition(self, wanted: WantedPartition) -> PartitionData:
        asked = wanted.asked
        partition: Partition | None = None
        try:
            partition = self._find(wanted)
            partition.check_leader_epoch(asked.current_leader_epoch)
            divergence = _divergence(partition, wanted)
            if divergence is not None:
                self.is_urgent = True
                return self._data(wanted, partition, b"", divergence=divergence)
            # The first batch found is returned however large it is; after it the limits hold.
            size_max = max(0, min(asked.partition_max_bytes, self._bytes_left))
            fetched = partition.read(
                asked.fetch_offset, size_max=size_max, at_least_one=self._bytes_left == self.bytes_max
            )
        except ANSWERABLE as error:
            self.is_urgent = True
            return self._refusal(wanted, partition, code_of(error))
        size = there = len(fetched.records)
        if fetched.next_offset < partition.high_watermark:
            # A batch more did not fit. Kafka would have sent a piece of it, so a minimum near the limit is reached.
            there = max(size, size_max)
        if size:
            self._bytes_left -= size
            self._served.append((partition, size))
        self.bytes_there += there
        self.room[partition] = max(0, asked.partition_max_bytes - there)
        return self._data(wanted, partition, fetched.records)

    def _find(self, wanted: WantedPartition) -> Partition:
        partition = wanted.partition()
        if partition is not None:
            return partition
        if not wanted.topic_id.int:
            if not wanted.topic:
                raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_ID, "neither an id nor a name was given")
            if wanted.is_bound:
                # Another topic may have taken the name since: the reader shall know before it reads that one [L-14].
                raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{wanted.topic} was deleted")
        topics = self._services.topics
        partition = topics.partition(topics.find(wanted.topic, wanted.topic_id), wanted.asked.partition)
        wanted.bind(partition)
        return partition

    def _data(
        self,
        wanted: WantedPartition,
        partition: Partition,
        records: Buffer,
        *,
        divergence: EpochEndOffset = NO_DIVERGENCE,
    ) -> PartitionData:
        return PartitionData(
            partition_index=wanted.asked.partition,
            high_watermark=partition.high_watermark,
            last_stable_offset=partition.last_stable_offset,
            log_start_offset=partition.log_start_offset,
            diverging_epoch=divergence,
            aborted_transactions=() if self._request.isolation_level == READ_COMMITTED else None,
            records=records,
        )

    def _refusal(self, wanted: WantedPartition, partition: Partition | None, code: ErrorCode) -> PartitionData:
        leader = NO_LEADER
        if partition is None or partition.log.recovered.lost:
            high_watermark = last_stable_offset = log_start_offset = -1
        else:
            high_watermark, last_stable_offset = partition.high_watermark, partition.last_stable_offset
            log_start_offset = partition.log_start_offset
            if code in LEADER_HINTED and self._context.version >= LEADER_HINTS_SINCE:
                leader_id = self._services.cluster.leader(partition.topic, partition.index)
                leader = LeaderIdAndEpoch(leader_id=leader_id, leader_epoch=partition.leader_epoch)
                self._needs_hint = True
        return PartitionData(
            partition_index=wanted.asked.partition,
            error_code=code,
            high_watermark=high_watermark,
            last_stable_offset=last_stable_offset,
            log_start_offset=log_start_offset,
            current_leader=leader,
            records=b"",
        )


def _divergence(partition: Partition, wanted: WantedPartition) -> EpochEndOffset | None:
    """KIP-595: where our log left the one that was read, if it did. Raises OffsetOutOfRange when that is not known."""
    asked = wanted.asked
    if asked.last_fetched_epoch < 0:
        return None
    end = partition.end_of_epoch(asked.last_fetched_epoch)
    if end is None or asked.fetch_offset < partition.log_start_offset:
        raise OffsetOutOfRange(asked.fetch_offset, partition.log_start_offset, partition.high_watermark)
    if end.epoch < asked.last_fetched_epoch or end.end_offset < asked.fetch_offset:
        return EpochEndOffset(epoch=end.epoch, end_offset=end.end_offset)
    return None


def _by_topic(told: Told) -> Iterator[FetchableTopicResponse]:
    """Neighbours of one topic stand together; a session's order may bring a topic up more than once, as in Kafka."""
    for (topic, topic_id), group in groupby(told, key=lambda one: (one[0].topic, one[0].topic_id)):
        yield FetchableTopicResponse(topic=topic, topic_id=topic_id, partitions=tuple(data for _, data in group))
