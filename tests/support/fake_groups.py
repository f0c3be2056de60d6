"""The groups of a `FakeCluster`: set by a test, told and changed as a coordinator does when an administrator asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages import consumer_group_describe as modern
from tidelog.protocol.messages import describe_groups as classic
from tidelog.protocol.messages.delete_groups import DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse
from tidelog.protocol.messages.describe_lag import (
    DescribeLagRequest,
    DescribeLagResponse,
    GroupLag,
    PartitionLag,
    TopicLag,
)
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberResponse
from tidelog.protocol.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)
from tidelog.protocol.primitives import write_int16, write_int32, write_string

Ends = Mapping[str, list[tuple[int, int]]]
"""First and next offset of each partition, by topic."""

COMMIT_MS = 1_700_000_000_000


@dataclass(slots=True, kw_only=True)
class FakeMember:
    """A member."""

    member_id: str
    instance_id: str | None = None
    client_id: str = "app"
    host: str = "/127.0.0.1"
    assignment: dict[str, tuple[int, ...]] = field(default_factory=dict)
    target: dict[str, tuple[int, ...]] | None = None
    garbage: bytes | None = None
    """Instead of an assignment."""


@dataclass(slots=True, kw_only=True)
class FakeGroup:
    """A group, of the classic kind unless said otherwise."""

    members: list[FakeMember] = field(default_factory=list)
    offsets: dict[tuple[str, int], tuple[int, int, str]] = field(default_factory=dict)
    """Offset, leader epoch, metadata."""
    kind: str = "classic"
    protocol_type: str = "consumer"
    lag_ms: int = 0
    """Told of every partition that is behind."""

    @property
    def state(self) -> str:
        """As Kafka names it."""
        return "Stable" if self.members else "Empty"

    @property
    def topics(self) -> set[str]:
        """What its members read."""
        return {topic for member in self.members for topic in member.assignment}

    def commit(self, topic: str, *offsets: int) -> None:
        """Offsets of partitions 0, 1, …."""
        self.offsets |= {(topic, index): (offset, 0, "") for index, offset in enumerate(offsets)}


def assignment_bytes(assignment: Mapping[str, tuple[int, ...]]) -> bytes:
    """A ConsumerProtocolAssignment of version 3."""
    parts = [write_int16(3), write_int32(len(assignment))]
    for topic, partitions in assignment.items():
        parts += [write_string(topic), write_int32(len(partitions)), *map(write_int32, partitions)]
    return b"".join([*parts, write_int32(-1)])


def respond(
    groups: dict[str, FakeGroup],
    ends: Ends,
    body: object,
    refuse: ErrorCode | None,
    unavailable_partitions: tuple[int, ...] = (),
) -> object | None:
    """The answer to an administrator's question about groups; None if it is none."""
    code = refuse or ErrorCode.NONE
    match body:
        case ListGroupsRequest():
            return _list(groups, body, code)
        case modern.ConsumerGroupDescribeRequest():
            return modern.ConsumerGroupDescribeResponse(
                groups=tuple(_describe_modern(name, groups.get(name), code) for name in body.group_ids)
            )
        case classic.DescribeGroupsRequest():
            return classic.DescribeGroupsResponse(
                groups=tuple(_describe_classic(name, groups.get(name), code) for name in body.groups)
            )
        case OffsetFetchRequest():
            return _fetch(groups, body, code)
        case OffsetCommitRequest():
            return _commit(groups, ends, body, code)
        case OffsetDeleteRequest():
            return _delete_offsets(groups, body, code)
        case DeleteGroupsRequest():
            return DeleteGroupsResponse(results=tuple(_delete(groups, name, code) for name in body.groups_names))
        case LeaveGroupRequest():
            return _leave(groups, body, code)
        case DescribeLagRequest():
            names = sorted(groups) if body.group_ids is None else body.group_ids
            is_part = body.group_ids is None and unavailable_partitions
            return DescribeLagResponse(
                error_code=ErrorCode.COORDINATOR_NOT_AVAILABLE if is_part else ErrorCode.NONE,
                groups=tuple(_lag(name, groups.get(name), ends, body.topics) for name in names),
                unavailable_partitions=unavailable_partitions,
            )
    return None


def _list(groups: dict[str, FakeGroup], body: ListGroupsRequest, code: ErrorCode) -> ListGroupsResponse:
    listed = tuple(
        ListedGroup(group_id=name, protocol_type=group.protocol_type, group_state=group.state, group_type=group.kind)
        for name, group in reversed(groups.items())
        if (not body.states_filter or group.state in body.states_filter)
        and (not body.types_filter or group.kind in body.types_filter)
    )
    return ListGroupsResponse(error_code=code, groups=() if code else listed)


def _describe_modern(name: str, group: FakeGroup | None, code: ErrorCode) -> modern.DescribedGroup:
    if code or group is None or group.kind != "consumer":
        return modern.DescribedGroup(group_id=name, error_code=code or ErrorCode.GROUP_ID_NOT_FOUND)
    return modern.DescribedGroup(
        group_id=name,
        group_state=group.state,
        group_epoch=5,
        assignment_epoch=5,
        assignor_name="uniform",
        members=tuple(
            modern.Member(
                member_id=member.member_id,
                instance_id=member.instance_id,
                member_epoch=5,
                client_id=member.client_id,
                client_host=member.host,
                assignment=_partitions(member.assignment),
                target_assignment=_partitions(member.assignment if member.target is None else member.target),
            )
            for member in group.members
        ),
    )


def _partitions(assignment: Mapping[str, tuple[int, ...]]) -> modern.Assignment:
    return modern.Assignment(
        topic_partitions=tuple(
            modern.TopicPartitions(topic_name=topic, partitions=partitions) for topic, partitions in assignment.items()
        )
    )


def _describe_classic(name: str, group: FakeGroup | None, code: ErrorCode) -> classic.DescribedGroup:
    if code or group is None or group.kind != "classic":
        return classic.DescribedGroup(group_id=name, error_code=code or ErrorCode.GROUP_ID_NOT_FOUND)
    return classic.DescribedGroup(
        group_id=name,
        group_state=group.state,
        protocol_type=group.protocol_type,
        protocol_data="range" if group.members else "",
        members=tuple(
            classic.DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.host,
                member_assignment=assignment_bytes(member.assignment) if member.garbage is None else member.garbage,
            )
            for member in group.members
        ),
    )


def _fetch(groups: dict[str, FakeGroup], body: OffsetFetchRequest, code: ErrorCode) -> OffsetFetchResponse:
    answers = []
    for asked in body.groups:
        assert asked.topics is None, "an administrator asks for all"
        known = groups.get(asked.group_id, FakeGroup())
        topics = tuple(
            OffsetFetchResponseTopics(
                name=topic,
                partitions=tuple(
                    OffsetFetchResponsePartitions(
                        partition_index=index, committed_offset=at[0], committed_leader_epoch=at[1], metadata=at[2]
                    )
                    for (name, index), at in known.offsets.items()
                    if name == topic
                ),
            )
            for topic in sorted({name for name, _ in known.offsets})
        )
        answers.append(OffsetFetchResponseGroup(group_id=asked.group_id, topics=topics, error_code=code))
    return OffsetFetchResponse(groups=tuple(answers))


def _commit(
    groups: dict[str, FakeGroup], ends: Ends, body: OffsetCommitRequest, code: ErrorCode
) -> OffsetCommitResponse:
    assert (body.generation_id_or_member_epoch, body.member_id) == (-1, "")
    group = groups.get(body.group_id) or FakeGroup(protocol_type="")
    if group.members:
        code = code or ErrorCode.UNKNOWN_MEMBER_ID
    topics = []
    for topic in body.topics:
        answers = []
        for partition in topic.partitions:
            index = partition.partition_index
            is_there = 0 <= index < len(ends.get(topic.name, ()))
            answer = code or (ErrorCode.NONE if is_there else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if not answer:
                groups[body.group_id] = group
                metadata = partition.committed_metadata or ""
                at = (partition.committed_offset, partition.committed_leader_epoch, metadata)
                group.offsets[topic.name, index] = at
            answers.append(OffsetCommitResponsePartition(partition_index=index, error_code=answer))
        topics.append(OffsetCommitResponseTopic(name=topic.name, partitions=tuple(answers)))
    return OffsetCommitResponse(topics=tuple(topics))


def _delete_offsets(groups: dict[str, FakeGroup], body: OffsetDeleteRequest, code: ErrorCode) -> OffsetDeleteResponse:
    group = groups.get(body.group_id)
    if code or group is None:
        return OffsetDeleteResponse(error_code=code or ErrorCode.GROUP_ID_NOT_FOUND)
    topics = []
    for topic in body.topics:
        code = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if topic.name in group.topics else ErrorCode.NONE
        for partition in topic.partitions:
            if not code:
                group.offsets.pop((topic.name, partition.partition_index), None)
        answers = tuple(
            OffsetDeleteResponsePartition(partition_index=partition.partition_index, error_code=code)
            for partition in topic.partitions
        )
        topics.append(OffsetDeleteResponseTopic(name=topic.name, partitions=answers))
    return OffsetDeleteResponse(topics=tuple(topics))


def _delete(groups: dict[str, FakeGroup], name: str, code: ErrorCode) -> DeletableGroupResult:
    if not code and name not in groups:
        code = ErrorCode.GROUP_ID_NOT_FOUND
    if not code and groups[name].members:
        code = ErrorCode.NON_EMPTY_GROUP
    if not code:
        del groups[name]
    return DeletableGroupResult(group_id=name, error_code=code)


def _leave(groups: dict[str, FakeGroup], body: LeaveGroupRequest, code: ErrorCode) -> LeaveGroupResponse:
    group = groups.get(body.group_id)
    if code or group is None:
        return LeaveGroupResponse(error_code=code or ErrorCode.UNKNOWN_MEMBER_ID)
    answers = []
    for asked in body.members:
        gone = [
            member
            for member in group.members
            if (asked.member_id and member.member_id == asked.member_id)
            or (asked.group_instance_id and member.instance_id == asked.group_instance_id)
        ]
        group.members = [member for member in group.members if member not in gone]
        answers.append(
            MemberResponse(
                member_id=asked.member_id,
                group_instance_id=asked.group_instance_id,
                error_code=ErrorCode.NONE if gone else ErrorCode.UNKNOWN_MEMBER_ID,
            )
        )
    return LeaveGroupResponse(members=tuple(answers))


def _lag(name: str, group: FakeGroup | None, ends: Ends, wanted: tuple[str, ...] | None) -> GroupLag:
    if group is None:
        return GroupLag(group_id=name, error_code=ErrorCode.GROUP_ID_NOT_FOUND)
    return GroupLag(
        group_id=name,
        group_state=group.state,
        group_type=group.kind,
        member_count=len(group.members),
        last_commit_ms=COMMIT_MS if group.offsets else -1,
        topics=tuple(
            TopicLag(name=topic, partitions=tuple(_lags(group, topic, ends.get(topic))))
            for topic in sorted({topic for topic, _ in group.offsets if wanted is None or topic in wanted})
        ),
    )


def _lags(group: FakeGroup, topic: str, ends: list[tuple[int, int]] | None) -> list[PartitionLag]:
    indexes = sorted(index for of, index in group.offsets if of == topic) if ends is None else range(len(ends))
    answers = []
    for index in indexes:
        at = group.offsets.get((topic, index))
        answer = PartitionLag(partition_index=index)
        if at is not None:
            answer = replace(answer, committed_offset=at[0], commit_ms=COMMIT_MS)
        if ends is not None:
            first, end = ends[index]
            answer = replace(answer, log_start_offset=first, end_offset=end)
            if at is not None:
                lag = max(0, end - max(first, at[0]))
                answer = replace(answer, lag=lag, lag_ms=group.lag_ms if lag else 0)
        answers.append(answer)
    return answers
