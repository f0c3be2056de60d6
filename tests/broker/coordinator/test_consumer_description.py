"""How a consumer group is shown [C-9]."""

from support.consumer_world import GROUP, MemberForTests, TopicsForTests, World, settle
from tidelog.broker.coordinator.consumer_description import described
from tidelog.protocol.messages.consumer_group_describe import Assignment, DescribedGroup, Member, TopicPartitions


def test_members_are_shown_with_what_they_have_and_what_they_shall_have() -> None:
    world = World(TopicsForTests(a=2))
    first, second = MemberForTests(world, "m1", ("a",), "x.*"), MemberForTests(world, "m2", ("a",), "", "i")
    settle([first])
    second.heartbeat()
    topic, _ = world.topics.by_name["a"]

    def parts(*numbers: int) -> Assignment:
        part = TopicPartitions(topic_id=topic, topic_name="a", partitions=numbers)
        return Assignment(topic_partitions=(part,) if numbers else ())

    assert described(world.group.roster, "Reconciling", "uniform", world.topics) == DescribedGroup(
        error_message=None,
        group_id=GROUP,
        group_state="Reconciling",
        group_epoch=2,
        assignment_epoch=2,
        assignor_name="uniform",
        members=(
            Member(
                member_id="m1",
                instance_id=None,
                rack_id=None,
                member_epoch=1,
                client_id="client",
                client_host="/127.0.0.1",
                subscribed_topic_names=("a",),
                subscribed_topic_regex="x.*",
                assignment=parts(0, 1),
                target_assignment=parts(0),
                member_type=1,
            ),
            Member(
                member_id="m2",
                instance_id="i",
                rack_id=None,
                member_epoch=2,
                client_id="client",
                client_host="/127.0.0.1",
                subscribed_topic_names=("a",),
                subscribed_topic_regex=None,
                assignment=parts(),
                target_assignment=parts(1),
                member_type=1,
            ),
        ),
    )


def test_topics_that_are_no_more_are_not_shown() -> None:
    world = World(TopicsForTests(a=1))
    settle([MemberForTests(world, "m", ("a",), "")])
    world.topics.delete("a")
    [member] = described(world.group.roster, "Stable", "uniform", world.topics).members
    assert member.assignment == Assignment()
