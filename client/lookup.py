"""Asks the leaders which offsets belong to times and to the ends of partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..protocol.errors import ErrorCode
from ..protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from .cluster import Cluster
from .config import Address
from .errors import STALE_METADATA, PartitionNotFound, TidelogError, Unavailable, error_for
from .offsets import QUERY_EARLIEST, QUERY_LATEST, OffsetQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetAt:
    """An offset that the broker told."""

    offset: int
    """-1: there is no record at or after the time that was asked for."""
    timestamp: int = -1
    """Of that record; -1 for the ends of the log."""
    leader_epoch: int = -1


async def list_offsets(cluster: Cluster, topic: str, wanted: Mapping[int, int]) -> dict[int, OffsetAt]:
    """For each partition the offset of a timestamp in ms, or of -1 (the end) or -2 (the beginning)."""
    found: dict[int, OffsetAt] = {}

    async def attempt(timeout: float) -> None:
        known = await cluster.known_topic(topic)
        by_leader: dict[Address, list[ListOffsetsPartition]] = {}
        for partition, timestamp in wanted.items():
            if partition in found:
                continue
            if not 0 <= partition < len(known.partitions):
                count = len(known.partitions)
                raise PartitionNotFound(f"topic {topic!r} has partitions 0 to {count - 1}, not {partition}")
            leader = cluster.leader(topic, partition)
            if leader is None:
                cluster.forget(topic)
                raise Unavailable(f"{topic}[{partition}] has no leader", code=ErrorCode.LEADER_NOT_AVAILABLE)
            by_leader.setdefault(leader, []).append(
                ListOffsetsPartition(partition_index=partition, timestamp=timestamp)
            )
        for leader, partitions in by_leader.items():
            request = ListOffsetsRequest(
                replica_id=-1,
                topics=(ListOffsetsTopic(name=topic, partitions=tuple(partitions)),),
                timeout_ms=max(1, int(timeout * 1000)),
            )
            response = await cluster.ask_at(leader, request, ListOffsetsResponse, timeout=timeout)
            _collect(cluster, topic, response, found)
        if len(found) < len(wanted):
            raise Unavailable(f"ListOffsets of {topic!r}: the answer leaves partitions out")

    await cluster.persist(attempt)
    return found


def _collect(cluster: Cluster, topic: str, response: ListOffsetsResponse, found: dict[int, OffsetAt]) -> None:
    problem: TidelogError | None = None
    for answered in response.topics:
        for partition in answered.partitions:
            if partition.error_code == ErrorCode.NONE:
                found[partition.partition_index] = OffsetAt(
                    offset=partition.offset, timestamp=partition.timestamp, leader_epoch=partition.leader_epoch
                )
            else:
                if partition.error_code in STALE_METADATA:
                    cluster.forget(topic)
                about = f"{topic}[{partition.partition_index}]"
                code = ErrorCode.of(partition.error_code)
                if code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                    # Metadata decide whether there is such a topic; until they were read again it may only be moving.
                    problem = Unavailable(f"{about}: the broker does not know it", code=code)
                else:
                    problem = error_for(partition.error_code, about=about)
    if problem is not None:
        raise problem


async def resolve(cluster: Cluster, topic: str, queries: Mapping[int, OffsetQuery]) -> dict[int, int]:
    """The offset that each query means for its partition."""
    resolved = {partition: query.offset for partition, query in queries.items() if query.offset is not None}
    asked = {partition: query.query for partition, query in queries.items() if query.offset is None}
    if not asked:
        return resolved
    found = await list_offsets(cluster, topic, asked)
    # A second question: the end where no record is as late as that, the beginning to step back no further than to it.
    again: dict[int, int] = {}
    for partition, at in found.items():
        resolved[partition] = at.offset
        if queries[partition].back:
            again[partition] = QUERY_EARLIEST
        elif at.offset < 0:
            again[partition] = QUERY_LATEST
    if again:
        for partition, at in (await list_offsets(cluster, topic, again)).items():
            if again[partition] == QUERY_EARLIEST:
                resolved[partition] = max(at.offset, resolved[partition] - queries[partition].back)
            else:
                resolved[partition] = at.offset
    return resolved
