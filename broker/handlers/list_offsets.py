"""ListOffsets v1-11: the offset at a point in time [L-6].

v2 isolation level; v4 leader epochs; v6 flexible; special timestamps: -1 latest, -2 earliest, v7 -3 maximum
timestamp, v8 -4 earliest local, v9 -5 latest tiered, v11 -6 earliest pending upload. Nothing is tiered, so the last
two find nothing. The latest offset is the high watermark, never the log's end.
"""

import asyncio
from collections import Counter
from itertools import islice

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
    ListOffsetsTopicResponse,
)
from ...protocol.primitives import ZERO_UUID
from ..errors import ANSWERABLE, code_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.partition import Partition

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6
SINCE = {
    LATEST: 1,
    EARLIEST: 1,
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}
"""The version from which on each special timestamp may be asked for."""

UNKNOWN = -1


def list_offsets(
    context: RequestContext, services: Services, request: ListOffsetsRequest
) -> ListOffsetsResponse | Pending[ListOffsetsResponse]:
    """Answer partition by partition; searches for a time give the loop back in between, each may take a while."""
    search = _Search(context, services, request)
    search.go_on()
    return search.response() if search.is_over else search.later()


class _Search:
    """A request on its way through its partitions."""

    def __init__(self, context: RequestContext, services: Services, request: ListOffsetsRequest) -> None:
        self._context = context
        self._services = services
        self._topics = request.topics
        self._todo = [(topic, wanted) for topic in request.topics for wanted in topic.partitions]
        self._counts = Counter((topic.name, wanted.partition_index) for topic, wanted in self._todo)
        self._found: list[ListOffsetsPartitionResponse] = []

    @property
    def is_over(self) -> bool:
        """Every partition has its answer."""
        return len(self._found) >= len(self._todo)

    def go_on(self) -> None:
        """Up to and with the next search for a time."""
        while not self.is_over:
            topic, wanted = self._todo[len(self._found)]
            if self._counts[topic.name, wanted.partition_index] > 1:
                self._found.append(_refusal(wanted, ErrorCode.INVALID_REQUEST))
                continue
            self._found.append(_answer(self._context, self._services, topic, wanted))
            if wanted.timestamp >= 0 or wanted.timestamp == MAX_TIMESTAMP:
                return

    def later(self) -> Pending[ListOffsetsResponse]:
        """The rest, a turn of the loop at a time."""
        loop = asyncio.get_running_loop()

        def turn() -> None:
            self.go_on()
            if self.is_over:
                pending(self.response())
            else:
                loop.call_soon(turn)

        pending: Pending[ListOffsetsResponse] = Pending(on_abandon=self._todo.clear)
        loop.call_soon(turn)
        return pending

    def response(self) -> ListOffsetsResponse:
        """The whole answer."""
        found = iter(self._found)
        return ListOffsetsResponse(
            topics=tuple(
                ListOffsetsTopicResponse(name=topic.name, partitions=tuple(islice(found, len(topic.partitions))))
                for topic in self._topics
            )
        )


def _answer(
    context: RequestContext, services: Services, topic: ListOffsetsTopic, wanted: ListOffsetsPartition
) -> ListOffsetsPartitionResponse:
    topics = services.topics
    try:
        partition = topics.partition(topics.find(topic.name, ZERO_UUID), wanted.partition_index)
        partition.check_leader_epoch(wanted.current_leader_epoch)
        if wanted.timestamp < 0 and context.version < SINCE.get(wanted.timestamp, context.version + 1):
            raise RequestRefused(ErrorCode.UNSUPPORTED_VERSION, f"timestamp {wanted.timestamp}")
        offset, timestamp, leader_epoch = _find(partition, wanted.timestamp)
    except ANSWERABLE as error:
        return _refusal(wanted, code_of(error))
    return ListOffsetsPartitionResponse(
        partition_index=wanted.partition_index, offset=offset, timestamp=timestamp, leader_epoch=leader_epoch
    )


def _find(partition: Partition, timestamp: int) -> tuple[int, int, int]:
    """Offset, timestamp and leader epoch; each -1 where there is none."""
    if timestamp == LATEST:
        return partition.high_watermark, UNKNOWN, partition.leader_epoch
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return partition.log_start_offset, UNKNOWN, partition.log.leader_epochs.epoch_at(partition.log_start_offset)
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return UNKNOWN, UNKNOWN, UNKNOWN
    if timestamp == MAX_TIMESTAMP:
        found = partition.find_timestamp(None)
    else:
        found = partition.find_timestamp(timestamp)
    if found is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    return found.offset, found.timestamp, found.leader_epoch


def _refusal(wanted: ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse:
    return ListOffsetsPartitionResponse(
        partition_index=wanted.partition_index, error_code=code, offset=UNKNOWN, timestamp=UNKNOWN
    )
