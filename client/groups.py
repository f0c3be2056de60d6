"""Consumer groups as an administrator sees them: who reads what, how far, and how far behind; found at `Admin.groups`.

A group is asked for at its coordinator, which is looked up each time. Calls are repeated while they fail for a reason
that may pass, until the client's `timeout`; each may be repeated without harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..protocol.errors import ErrorCode, MalformedMessage
from ..protocol.messages import consumer_group_describe as modern
from ..protocol.messages import describe_groups as classic
from ..protocol.messages import describe_lag as lags
from ..protocol.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
from ..protocol.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from ..protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity
from ..protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from ..protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from ..protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
)
from ..protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse
from ..protocol.primitives import read_int16, read_int32, read_string
from .cluster import Cluster
from .config import Address
from .errors import GroupNotEmpty, GroupNotFound, NotRetriable, Unavailable, error_for
from .records import TopicPartition

Response = TypeVar("Response")
Result = TypeVar("Result")

KEY_TYPE_GROUP = 0
ADMIN_GENERATION = -1
"""Commits that no member makes, which is allowed while there is none."""
DEAD = "Dead"
NOT_A_MEMBER = frozenset(
    {
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.ILLEGAL_GENERATION,
        ErrorCode.REBALANCE_IN_PROGRESS,
        ErrorCode.STALE_MEMBER_EPOCH,
    }
)
"""How a coordinator says to who commits without being a member that the group has members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupListing:
    """A group in the list."""

    group_id: str
    kind: str
    """"classic" or "consumer" (KIP-848)."""
    protocol_type: str
    """What its members call what they do: consumer, connect, …; empty if only offsets were ever committed."""
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember:
    """A member and its part."""

    member_id: str
    instance_id: str | None = None
    """It is a static member, and this is its name."""
    client_id: str
    host: str
    assignment: Mapping[str, tuple[int, ...]]
    """By topic; empty where it has none, or what it has are no partitions (a worker of Kafka Connect)."""
    target: Mapping[str, tuple[int, ...]] | None = None
    """What it shall have; None in classic groups, which know no difference."""
    epoch: int | None = None

    @property
    def partition_count(self) -> int:
        """Partitions that it has."""
        return sum(map(len, self.assignment.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDescription:
    """A group and its members."""

    group_id: str
    kind: str
    """"classic" or "consumer"."""
    state: str
    protocol_type: str
    assignor: str
    """How partitions are shared out; empty while nobody has said."""
    coordinator: Address
    members: tuple[GroupMember, ...]
    epoch: int | None = None
    """Rises with every change of members, subscriptions or topics; None in classic groups."""
    target_epoch: int | None = None
    """The epoch for which the target assignment was made."""


@dataclass(frozen=True, slots=True)
class GroupOffset:
    """The next record that a group would read of a partition."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    """What the consumer wanted to find again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How far a group is behind in a partition. None where nobody knows."""

    topic: str
    partition: int
    committed: int | None
    """None: never committed."""
    commit_ms: int | None
    start_offset: int | None
    end_offset: int | None
    """None: there is no such partition any more."""
    lag: int | None
    lag_ms: int | None
    """The age of the first record that was not consumed; 0 if all were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLag:
    """How far a group is behind in all partitions of the topics of which it has committed offsets."""

    group_id: str
    kind: str
    state: str
    member_count: int
    last_commit_ms: int | None
    partitions: tuple[PartitionLag, ...]


class GroupsMissing(NotRetriable):
    """Partitions of `__consumer_offsets` have failed or are damaged, and nobody can tell of the groups in there."""

    def __init__(
        self,
        partitions: Iterable[int],
        *,
        listed: Iterable[GroupListing] = (),
        lags: Mapping[str, GroupLag] | None = None,
    ) -> None:
        self.partitions = tuple(sorted(partitions))
        names = ", ".join(f"__consumer_offsets-{partition}" for partition in self.partitions)
        super().__init__(f"groups are missing: those of {names}", code=ErrorCode.COORDINATOR_NOT_AVAILABLE)
        self.listed = list(listed)
        """All others, if `list_all` was called."""
        self.lags = dict(lags or {})
        """Those of all others, if `lag` was called."""


class GroupAdmin:
    """Asks about groups and changes them; found at `Client.admin.groups`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    # Asking

    async def list_all(self, *, states: Sequence[str] = (), kinds: Sequence[str] = ()) -> list[GroupListing]:
        """All groups by name, or those in one of the states, of one of the kinds. Raises GroupsMissing with a part."""
        request = ListGroupsRequest(states_filter=tuple(states), types_filter=tuple(kinds))

        async def attempt(timeout: float) -> list[GroupListing]:
            found: list[GroupListing] = []
            missing: set[int] = set()
            for address in self._brokers():
                response = await self._cluster.ask_at(address, request, ListGroupsResponse, timeout=timeout)
                unlisted = await self._missing_at(address, timeout)
                if not unlisted or response.error_code != ErrorCode.COORDINATOR_NOT_AVAILABLE:
                    _check(response.error_code, "ListGroups")  # else all of this broker's groups are among those
                missing |= unlisted
                found += [
                    GroupListing(
                        group_id=group.group_id,
                        kind=group.group_type.lower(),
                        protocol_type=group.protocol_type,
                        state=group.group_state,
                    )
                    for group in response.groups
                ]
            found.sort(key=lambda group: group.group_id)
            if missing:
                raise GroupsMissing(missing, listed=found)
            return found

        return await self._cluster.persist(attempt)

    async def _missing_at(self, address: Address, timeout: float) -> set[int]:
        """Partitions of `__consumer_offsets` whose groups a broker does not list: Kafka's ListGroups cannot say so."""
        request = lags.DescribeLagRequest(group_ids=())
        response = await self._cluster.ask_at(address, request, lags.DescribeLagResponse, timeout=timeout)
        _check(response.error_code, "DescribeLag")
        return set(response.unavailable_partitions)

    async def describe(self, group_id: str) -> GroupDescription:
        """A group and its members. GroupNotFound if there is none."""
        found = await self.describe_many([group_id])
        if group_id not in found:
            raise _no_group(group_id)
        return found[group_id]

    async def describe_many(self, group_ids: Sequence[str]) -> dict[str, GroupDescription]:
        """Those of the groups that exist, with their members."""

        async def attempt(timeout: float) -> dict[str, GroupDescription]:
            found: dict[str, GroupDescription] = {}
            for address, names in (await self._coordinators(group_ids, timeout)).items():
                found.update(await self._describe_at(address, names, timeout))
            return {name: found[name] for name in group_ids if name in found}

        return await self._cluster.persist(attempt)

    async def offsets(self, group_id: str) -> dict[TopicPartition, GroupOffset]:
        """All that the group has committed; nothing if there is no such group."""
        request = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id=group_id, topics=None),))

        def read(response: OffsetFetchResponse) -> dict[TopicPartition, GroupOffset]:
            found: dict[TopicPartition, GroupOffset] = {}
            for group in response.groups:
                if group.error_code == ErrorCode.GROUP_ID_NOT_FOUND:
                    return {}
                _check_group(group.error_code, group_id)
                for topic in group.topics:
                    for partition in topic.partitions:
                        _check(partition.error_code, f"{topic.name}[{partition.partition_index}]")
                        if partition.committed_offset >= 0:
                            found[TopicPartition(topic.name, partition.partition_index)] = GroupOffset(
                                partition.committed_offset, partition.committed_leader_epoch, partition.metadata or ""
                            )
            return dict(sorted(found.items()))

        return await self._ask(group_id, request, OffsetFetchResponse, read=read)

    async def lag(
        self, group_ids: Sequence[str] | None = None, *, topics: Sequence[str] | None = None
    ) -> dict[str, GroupLag]:
        """How far groups are behind: all of them, or those of the named ones that exist; in some topics or in all.

        Raises GroupsMissing with a part, if all were asked for.
        """

        async def attempt(timeout: float) -> dict[str, GroupLag]:
            asked: Mapping[Address, list[str] | None] = (
                dict.fromkeys(self._brokers()) if group_ids is None else await self._coordinators(group_ids, timeout)
            )
            found: dict[str, GroupLag] = {}
            missing: set[int] = set()
            for address, names in asked.items():
                request = lags.DescribeLagRequest(
                    group_ids=None if names is None else tuple(names), topics=None if topics is None else tuple(topics)
                )
                response = await self._cluster.ask_at(address, request, lags.DescribeLagResponse, timeout=timeout)
                if names is None and response.unavailable_partitions:
                    missing.update(response.unavailable_partitions)
                else:
                    _check(response.error_code, "DescribeLag")
                for group in response.groups:
                    if group.error_code != ErrorCode.GROUP_ID_NOT_FOUND:
                        _check_group(group.error_code, group.group_id, group.error_message)
                        found[group.group_id] = _group_lag(group)
            told = {name: found[name] for name in group_ids or sorted(found) if name in found}
            if missing:
                raise GroupsMissing(missing, lags=told)
            return told

        return await self._cluster.persist(attempt)

    # Changing

    async def alter_offsets(self, group_id: str, offsets: Mapping[tuple[str, int], GroupOffset | int]) -> None:
        """Commit offsets for a group that has no members; one that does not exist is made. Raises GroupNotEmpty."""
        ids = {topic: (await self._cluster.read_topic(topic)).topic_id for topic in {topic for topic, _ in offsets}}
        by_topic: dict[str, list[OffsetCommitRequestPartition]] = {}
        for (topic, partition), value in offsets.items():
            at = GroupOffset(value) if isinstance(value, int) else value
            by_topic.setdefault(topic, []).append(
                OffsetCommitRequestPartition(
                    partition_index=partition,
                    committed_offset=at.offset,
                    committed_leader_epoch=at.leader_epoch,
                    committed_metadata=at.metadata,
                )
            )
        request = OffsetCommitRequest(
            group_id=group_id,
            generation_id_or_member_epoch=ADMIN_GENERATION,
            topics=tuple(
                OffsetCommitRequestTopic(name=topic, topic_id=ids[topic], partitions=tuple(partitions))
                for topic, partitions in by_topic.items()
            ),
        )

        def read(response: OffsetCommitResponse) -> None:
            failed = [
                (f"{topic.name}[{partition.partition_index}]", partition.error_code)
                for topic in response.topics
                for partition in topic.partitions
                if partition.error_code != ErrorCode.NONE
            ]
            for about, code in failed:
                if code in NOT_A_MEMBER:
                    raise GroupNotEmpty(
                        f"group {group_id!r} has members, and only they may commit", code=ErrorCode.of(code)
                    )
                left = f" ({len(failed)} of {len(offsets)} offsets were not committed)"
                raise error_for(code, about=f"group {group_id!r}: {about}{left}")

        await self._ask(group_id, request, OffsetCommitResponse, read=read)

    async def delete_offsets(self, group_id: str, partitions: Iterable[tuple[str, int]]) -> None:
        """Forget how far a group came, in topics that no member reads. Raises GroupNotEmpty, GroupNotFound."""
        by_topic: dict[str, list[OffsetDeleteRequestPartition]] = {}
        for topic, partition in partitions:
            by_topic.setdefault(topic, []).append(OffsetDeleteRequestPartition(partition_index=partition))
        request = OffsetDeleteRequest(
            group_id=group_id,
            topics=tuple(
                OffsetDeleteRequestTopic(name=topic, partitions=tuple(numbers)) for topic, numbers in by_topic.items()
            ),
        )

        def read(response: OffsetDeleteResponse) -> None:
            _check_group(response.error_code, group_id)
            for topic in response.topics:
                for partition in topic.partitions:
                    about = f"{topic.name}[{partition.partition_index}]"
                    _check(partition.error_code, f"group {group_id!r}: {about}")

        await self._ask(group_id, request, OffsetDeleteResponse, read=read)

    async def delete(self, group_id: str) -> None:
        """Delete a group that has no members, and its offsets. Raises GroupNotEmpty, GroupNotFound."""
        request = DeleteGroupsRequest(groups_names=(group_id,))

        def read(response: DeleteGroupsResponse) -> None:
            for result in response.results:
                _check_group(result.error_code, group_id)

        await self._ask(group_id, request, DeleteGroupsResponse, read=read)

    async def remove_members(
        self,
        group_id: str,
        member_ids: Sequence[str] = (),
        *,
        instance_ids: Sequence[str] = (),
        reason: str = "removed by an administrator",
    ) -> list[str]:
        """Take members out of a group, static ones by their instance ids; returns those that were in it.

        A consumer that is alive notices, and joins again.
        """
        asked = [MemberIdentity(member_id=member_id, reason=reason) for member_id in member_ids]
        asked += [MemberIdentity(group_instance_id=instance_id, reason=reason) for instance_id in instance_ids]
        request = LeaveGroupRequest(group_id=group_id, members=tuple(asked))

        def read(response: LeaveGroupResponse) -> list[str]:
            if response.error_code == ErrorCode.UNKNOWN_MEMBER_ID:
                raise _no_group(group_id)
            _check_group(response.error_code, group_id)
            gone = []
            for member in response.members:
                name = member.member_id or member.group_instance_id or ""
                if member.error_code != ErrorCode.UNKNOWN_MEMBER_ID:
                    _check(member.error_code, f"group {group_id!r}: member {name!r}")
                    gone.append(name)
            return gone

        return await self._ask(group_id, request, LeaveGroupResponse, read=read)

    # Coordinators

    async def _ask(
        self, group_id: str, request: object, expected: type[Response], *, read: Callable[[Response], Result]
    ) -> Result:
        """Ask a group's coordinator; `read` raises what the answer says is wrong."""

        async def attempt(timeout: float) -> Result:
            [address] = await self._coordinators([group_id], timeout)
            return read(await self._cluster.ask_at(address, request, expected, timeout=timeout))

        return await self._cluster.persist(attempt)

    async def _coordinators(self, group_ids: Sequence[str], timeout: float) -> dict[Address, list[str]]:
        """Which broker to ask for which groups."""
        request = FindCoordinatorRequest(key_type=KEY_TYPE_GROUP, coordinator_keys=tuple(dict.fromkeys(group_ids)))
        response = await self._cluster.ask_once(request, FindCoordinatorResponse, timeout=timeout)
        found: dict[Address, list[str]] = {}
        for coordinator in response.coordinators:
            _check_group(coordinator.error_code, coordinator.key, coordinator.error_message)
            found.setdefault(Address(coordinator.host, coordinator.port), []).append(coordinator.key)
        if sum(map(len, found.values())) < len(set(group_ids)):
            raise Unavailable("FindCoordinator: the answer leaves groups out")
        return found

    def _brokers(self) -> list[Address]:
        return [broker.address for broker in self._cluster.brokers.values()]

    async def _describe_at(
        self, address: Address, group_ids: Sequence[str], timeout: float
    ) -> dict[str, GroupDescription]:
        """Ask about groups of the consumer kind first; those that are not may be classic ones."""
        found: dict[str, GroupDescription] = {}
        request = modern.ConsumerGroupDescribeRequest(group_ids=tuple(group_ids))
        response = await self._cluster.ask_at(address, request, modern.ConsumerGroupDescribeResponse, timeout=timeout)
        for group in response.groups:
            if group.error_code != ErrorCode.GROUP_ID_NOT_FOUND:
                _check_group(group.error_code, group.group_id, group.error_message)
                found[group.group_id] = _modern_description(group, address)
        others = tuple(name for name in group_ids if name not in found)
        if not others:
            return found
        answer = await self._cluster.ask_at(
            address, classic.DescribeGroupsRequest(groups=others), classic.DescribeGroupsResponse, timeout=timeout
        )
        for described in answer.groups:
            if described.error_code != ErrorCode.GROUP_ID_NOT_FOUND:
                _check_group(described.error_code, described.group_id, described.error_message)
                if described.group_state != DEAD:
                    found[described.group_id] = _classic_description(described, address)
        return found


# Answers


def _check(code: int, about: str) -> None:
    if code != ErrorCode.NONE:
        raise error_for(code, about=about)


def _check_group(code: int, group_id: str, message: str | None = None) -> None:
    if code == ErrorCode.GROUP_ID_NOT_FOUND:
        raise _no_group(group_id)
    if code != ErrorCode.NONE:
        raise error_for(code, message, about=f"group {group_id!r}")


def _no_group(group_id: str) -> GroupNotFound:
    return GroupNotFound(f"there is no group {group_id!r}", code=ErrorCode.GROUP_ID_NOT_FOUND)


def _modern_description(group: modern.DescribedGroup, coordinator: Address) -> GroupDescription:
    return GroupDescription(
        group_id=group.group_id,
        kind="consumer",
        state=group.group_state,
        protocol_type="consumer",
        assignor=group.assignor_name,
        coordinator=coordinator,
        epoch=group.group_epoch,
        target_epoch=group.assignment_epoch,
        members=tuple(
            GroupMember(
                member_id=member.member_id,
                instance_id=member.instance_id,
                client_id=member.client_id,
                host=member.client_host,
                assignment=_by_topic(member.assignment),
                target=_by_topic(member.target_assignment),
                epoch=member.member_epoch,
            )
            for member in group.members
        ),
    )


def _by_topic(assignment: modern.Assignment) -> dict[str, tuple[int, ...]]:
    return {
        topic.topic_name: tuple(sorted(topic.partitions))
        for topic in sorted(assignment.topic_partitions, key=lambda topic: topic.topic_name)
        if topic.partitions
    }


def _classic_description(group: classic.DescribedGroup, coordinator: Address) -> GroupDescription:
    is_consumers = group.protocol_type == "consumer"
    return GroupDescription(
        group_id=group.group_id,
        kind="classic",
        state=group.group_state,
        protocol_type=group.protocol_type,
        assignor=group.protocol_data,
        coordinator=coordinator,
        members=tuple(
            GroupMember(
                member_id=member.member_id,
                instance_id=member.group_instance_id,
                client_id=member.client_id,
                host=member.client_host,
                assignment=_assigned(member.member_assignment) if is_consumers else {},
            )
            for member in group.members
        ),
    )


def _assigned(data: bytes) -> dict[str, tuple[int, ...]]:
    """Partitions of a ConsumerProtocolAssignment, which clients write and brokers only keep: it may be anything.

    All versions begin alike: int16 version, then an array of topics, each a name and an array of int32 partitions.
    """
    found: dict[str, tuple[int, ...]] = {}
    if not data:
        return found
    try:
        _, position = read_int16(data, 0)
        topics, position = read_int32(data, position)
        for _ in range(topics):
            topic, position = read_string(data, position)
            count, position = read_int32(data, position)
            numbers = []
            for _ in range(count):
                number, position = read_int32(data, position)
                numbers.append(number)
            if numbers:
                found[topic] = tuple(sorted(numbers))
    except MalformedMessage:
        return {}
    return dict(sorted(found.items()))


def _group_lag(group: lags.GroupLag) -> GroupLag:
    return GroupLag(
        group_id=group.group_id,
        kind=group.group_type.lower(),
        state=group.group_state,
        member_count=group.member_count,
        last_commit_ms=_known(group.last_commit_ms),
        partitions=tuple(
            PartitionLag(
                topic=topic.name,
                partition=partition.partition_index,
                committed=_known(partition.committed_offset),
                commit_ms=_known(partition.commit_ms),
                start_offset=_known(partition.log_start_offset),
                end_offset=_known(partition.end_offset),
                lag=_known(partition.lag),
                lag_ms=_known(partition.lag_ms),
            )
            for topic in group.topics
            for partition in topic.partitions
        ),
    )


def _known(value: int) -> int | None:
    return None if value < 0 else value
