"""How a consumer group is shown: by ConsumerGroupDescribe [C-9]."""

from ...protocol.messages.consumer_group_describe import Assignment, DescribedGroup, TopicPartitions
from ...protocol.messages.consumer_group_describe import Member as DescribedMember
from .assignors import NOTHING
from .assignors import Assignment as PartitionsByTopic
from .consumer_members import Member, Roster
from .topics_view import TopicsView

CLASSIC, CONSUMER = 0, 1
"""The protocol that a member speaks, in Kafka's numbers."""


def described(roster: Roster, state: str, assignor: str, topics: TopicsView) -> DescribedGroup:
    """The group with its members."""
    return DescribedGroup(
        group_id=roster.group_id,
        group_state=state,
        group_epoch=roster.epoch,
        assignment_epoch=roster.target_epoch,
        assignor_name=assignor,
        members=tuple(_member(member, roster, topics) for member in roster.members.values()),
    )


def _member(member: Member, roster: Roster, topics: TopicsView) -> DescribedMember:
    value = member.value
    return DescribedMember(
        member_id=member.member_id,
        instance_id=value.instance_id,
        rack_id=value.rack_id,
        member_epoch=member.epoch,
        client_id=value.client_id,
        client_host=value.client_host,
        subscribed_topic_names=value.subscribed_topics,
        subscribed_topic_regex=value.subscribed_regex,
        assignment=_assignment(member.current.assigned, topics),
        target_assignment=_assignment(roster.targets.get(member.member_id, NOTHING), topics),
        member_type=CONSUMER if value.classic is None else CLASSIC,
    )


def _assignment(partitions: PartitionsByTopic, topics: TopicsView) -> Assignment:
    """With the names of topics; those that are no more are left out."""
    named = ((topic_id, topics.name_of(topic_id), numbers) for topic_id, numbers in partitions.items())
    return Assignment(
        topic_partitions=tuple(
            TopicPartitions(topic_id=topic_id, topic_name=name, partitions=numbers)
            for topic_id, name, numbers in named
            if name is not None
        )
    )
