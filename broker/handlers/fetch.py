"""Fetch v4-18: read record batches, waiting for enough of them.

v4 isolation level; v5 log start offset; v7 sessions (KIP-227): every fetch is a full one here, session id 0 in the
answer says so; v9 leader epochs; v11 rack; v12 flexible; v13 topic ids; v15 the replica's state moved into a tagged
field; v16 node endpoints. Records are never decoded. What is read lies below the high watermark, which is also the
last stable offset: no transactions yet.
"""

from collections.abc import Sequence

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.fetch import (
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
)
from ...protocol.primitives import ZERO_UUID
from ..errors import ANSWERABLE, code_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.delayed_fetch import ParkedFetch
from ..topics.partition import Partition

FINAL_EPOCH = -1
INITIAL_EPOCH = 0
READ_COMMITTED = 1


def fetch(context: RequestContext, services: Services, request: FetchRequest) -> FetchResponse | Pending[FetchResponse]:
    """Answer at once if there is enough, an error, or no wish to wait [F-1]; else park."""
    del context
    if request.replica_id >= 0 or request.replica_state.replica_id >= 0:
        # CVE-2018-1288: whoever may fetch as a replica decides what counts as replicated. There are no replicas.
        raise RequestRefused(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "only consumers fetch here")
    if request.session_id != 0 or request.session_epoch not in (FINAL_EPOCH, INITIAL_EPOCH):
        return FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    reading = _Reading(services, request)
    response = reading.read()
    # More than it takes at the most would never be enough.
    missing = min(request.min_bytes, request.max_bytes) - reading.bytes_read
    if request.max_wait_ms <= 0 or missing <= 0 or reading.failed or not reading.partitions:
        return response
    return _park(services, reading, missing=missing, wait_ms=request.max_wait_ms)


def _park(services: Services, reading: "_Reading", *, missing: int, wait_ms: int) -> Pending[FetchResponse]:
    def answer() -> None:
        pending(reading.read())

    parked = ParkedFetch(reading.partitions, wanted_bytes=missing, answer=answer)
    pending: Pending[FetchResponse] = Pending(
        holds_connection=True,
        on_abandon=lambda: services.delayed_fetches.forget(parked),
        on_hurry=lambda: services.delayed_fetches.finish(parked),
    )
    # A client that vanished without a word is noticed when it is answered.
    wait_ms = min(wait_ms, services.config.connections_max_idle_ms)
    services.delayed_fetches.park(parked, wait_s=wait_ms / 1000)
    return pending


class _Reading:
    """One request's pass over its partitions, in the order asked [F-2]; may be made again after a wait."""

    def __init__(self, services: Services, request: FetchRequest) -> None:
        self._services = services
        self._request = request
        self._bytes_left = 0
        self.bytes_read = 0
        self.failed = False
        """Some partition answers with an error."""
        self.partitions: Sequence[Partition] = ()
        """Those that could be read."""

    def read(self) -> FetchResponse:
        """Read what there is now."""
        self._bytes_left = min(self._request.max_bytes, self._services.config.fetch_max_bytes)
        self.bytes_read = 0
        self.failed = False
        partitions: list[Partition] = []
        responses = tuple(
            FetchableTopicResponse(
                topic=topic.topic,
                topic_id=topic.topic_id,
                partitions=tuple(self._read_partition(topic, wanted, partitions) for wanted in topic.partitions),
            )
            for topic in self._request.topics
        )
        self.partitions = partitions
        return FetchResponse(responses=responses)

    def _read_partition(self, topic: FetchTopic, wanted: FetchPartition, read: list[Partition]) -> PartitionData:
        topics = self._services.topics
        high_watermark = start_offset = -1
        try:
            if not topic.topic and topic.topic_id == ZERO_UUID:
                raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_ID, "neither an id nor a name was given")
            partition = topics.partition(topics.find(topic.topic, topic.topic_id), wanted.partition)
            high_watermark, start_offset = partition.high_watermark, partition.log_start_offset
            partition.check_leader_epoch(wanted.current_leader_epoch)
            # The first batch found is returned however large it is; after it the limits hold.
            fetched = partition.read(
                wanted.fetch_offset,
                size_max=max(0, min(wanted.partition_max_bytes, self._bytes_left)),
                at_least_one=self.bytes_read == 0,
            )
        except ANSWERABLE as error:
            self.failed = True
            return PartitionData(
                partition_index=wanted.partition,
                error_code=code_of(error),
                high_watermark=high_watermark,
                last_stable_offset=high_watermark,
                log_start_offset=start_offset,
                records=b"",
            )
        read.append(partition)
        self.bytes_read += len(fetched.records)
        self._bytes_left -= len(fetched.records)
        return PartitionData(
            partition_index=wanted.partition,
            high_watermark=high_watermark,
            last_stable_offset=high_watermark,
            log_start_offset=start_offset,
            aborted_transactions=() if self._request.isolation_level == READ_COMMITTED else None,
            records=fetched.records,
        )
