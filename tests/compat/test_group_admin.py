"""What each client's admin calls do and show of groups: looked at by one client, and done by another one."""

from dataclasses import replace

import pytest

from support.clients.aio import AioClient
from support.clients.confluent import ConfluentClient
from support.clients.features import READS_BACK, Case, feature
from support.clients.house import Clients, fresh_name, write
from support.clients.membership import eventually
from support.clients.model import Client, ClientFailed, Joining, Member, Position, Protocols, Refused, Sent
from support.clients.node import KafkaJsClient
from support.clients.pure_python import PythonClient
from tidelog.protocol.errors import ErrorCode

SECTION = "Groups"
COUNT = 10


def witness(clients: Clients, case: Case) -> Client:
    """Another client, which has most calls."""
    return clients.open(ConfluentClient if case.kind is PythonClient else PythonClient)


def filled(clients: Clients, partitions: int = 2) -> str:
    """A topic with some records in each partition."""
    topic = clients.topic(partitions=partitions)
    records = [Sent(key=b"k", value=b"%d" % n, partition=part) for part in range(partitions) for n in range(COUNT)]
    write(clients.open(AioClient), topic, records)
    return topic


def asleep(clients: Clients, topic: str, *offsets: int, metadata: str = "") -> str:
    """A group that has committed these offsets, partition by partition, and whose member has left."""
    group = fresh_name()
    member = awake(clients, group, topic)
    member.commit({(topic, partition): Position(offset, metadata) for partition, offset in enumerate(offsets)})
    member.close()
    return group


def awake(clients: Clients, group: str, topic: str, protocol: Protocols = Protocols.CLASSIC) -> Member:
    """A member that has been given its partitions."""
    member = clients.join(ConfluentClient, Joining(group=group, topics=(topic,), protocol=protocol))
    eventually("it is given partitions", lambda: bool(member.assigned()))
    return member


@feature(SECTION, "list the groups", verb="list_groups")
def test_list_the_groups(clients: Clients, case: Case) -> None:
    """G-1, C-9: of both protocols, and where the client shows it, in which state they are."""
    topic = filled(clients)
    empty, stable, modern = asleep(clients, topic, 3), fresh_name(), fresh_name()
    awake(clients, stable, topic)
    awake(clients, modern, topic, Protocols.CONSUMER)
    expected = {empty: "empty", stable: "stable", modern: "stable"}
    client = clients.open(case.kind)
    eventually("all are there", lambda: expected.keys() <= client.list_groups().keys())
    seen = client.list_groups()
    if any(seen.values()):
        eventually("they are stable", lambda: expected.items() <= client.list_groups().items())
    assert fresh_name() not in seen


@feature(SECTION, "describe a group of the classic protocol", verb="describe_group")
def test_describe_a_group(clients: Clients, case: Case) -> None:
    topic = filled(clients, 3)
    group = fresh_name()
    joining = Joining(group=group, topics=(topic,))
    first = clients.join(ConfluentClient, replace(joining, instance_id="first"))
    second = clients.join(ConfluentClient, joining)
    members = (first, second)
    eventually("they share", lambda: sorted(len(member.assigned()) for member in members) == [1, 2])
    client = clients.open(case.kind)
    seen = client.describe_group(group)
    assert (seen.state, seen.assignor) == ("stable", "range")
    assert {member.assigned for member in seen.members} == {first.assigned(), second.assigned()}
    assert {member.client_id for member in seen.members} == {"rdkafka"}
    assert len({member.member_id for member in seen.members}) == 2
    known = {member.instance_id: member.assigned for member in seen.members if member.instance_id}
    assert known in ({}, {"first": first.assigned()})
    first.close()
    second.close()


@feature(SECTION, "describe a group of the consumer protocol", verb="describe_consumer_group")
def test_describe_a_group_of_the_consumer_protocol(clients: Clients, case: Case) -> None:
    """C-9."""
    topic = filled(clients, 3)
    group = fresh_name()
    first, second = (awake(clients, group, topic, Protocols.CONSUMER) for _ in range(2))
    eventually("they share", lambda: sorted(len(member.assigned()) for member in (first, second)) == [1, 2])
    client = clients.open(case.kind)
    eventually("it is stable", lambda: client.describe_consumer_group(group).state == "stable")
    seen = client.describe_consumer_group(group)
    assert seen.assignor == "uniform"
    assert {member.assigned for member in seen.members} == {first.assigned(), second.assigned()}


@feature(SECTION, "list the offsets of a group", verb="list_group_offsets")
def test_list_the_offsets_of_a_group(clients: Clients, case: Case) -> None:
    """G-11: those that were committed, and no others."""
    topic = filled(clients, 3)
    group = asleep(clients, topic, 4, 7, metadata="note")
    client = clients.open(case.kind)
    seen = client.list_group_offsets(group, topic)
    assert {partition: position.offset for partition, position in seen.items()} == {0: 4, 1: 7}
    # confluent-kafka sends the end of C's string along.
    assert {position.metadata.removesuffix("\0") for position in seen.values()} == {"note"}
    assert client.list_group_offsets(fresh_name(), topic) == {}


@feature(SECTION, "alter the offsets of a group", verb="alter_group_offsets")
def test_alter_the_offsets_of_a_group(clients: Clients, case: Case) -> None:
    """G-10: of a group that is asleep, or new; never under a member's feet."""
    topic = filled(clients)
    group = asleep(clients, topic, 4, 7)
    client = clients.open(case.kind)
    # kafkajs takes five seconds for it: it joins the group, and waits for a fetch before it leaves.
    for name, kept in ((group, {1: 7}), (fresh_name(), {}))[: 1 if case.kind is KafkaJsClient else 2]:
        client.alter_group_offsets(name, {(topic, 0): Position(9)})
        seen = witness(clients, case).list_group_offsets(name, topic)
        assert {partition: position.offset for partition, position in seen.items()} == {0: 9, **kept}
    member = awake(clients, group, topic)
    assert [(one.partition, one.offset) for one in sorted(member.read(4), key=lambda one: one.partition)] == [
        (0, 9),
        (1, 7),
        (1, 8),
        (1, 9),
    ]
    with pytest.raises((Refused, ClientFailed)):
        client.alter_group_offsets(group, {(topic, 0): Position(1)})
    assert witness(clients, case).list_group_offsets(group, topic)[0].offset == 9


@feature(SECTION, "delete offsets of a group", verb="delete_group_offsets")
def test_delete_offsets_of_a_group(clients: Clients, case: Case) -> None:
    """G-12: not of a topic that a member reads."""
    topic = filled(clients)
    group = asleep(clients, topic, 4, 7)
    client = clients.open(case.kind)
    client.delete_group_offsets(group, (topic, 0))
    assert witness(clients, case).list_group_offsets(group, topic).keys() == {1}
    member = awake(clients, group, topic)
    with pytest.raises(Refused) as refused:
        client.delete_group_offsets(group, (topic, 1))
    assert refused.value.code is ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
    assert witness(clients, case).list_group_offsets(group, topic).keys() == {1}
    member.close()


@feature(SECTION, "delete a group", verb="delete_group")
def test_delete_a_group(clients: Clients, case: Case) -> None:
    """G-12: with its offsets, when it has no members."""
    topic = filled(clients)
    group, other = asleep(clients, topic, 4, 7), asleep(clients, topic, 1)
    client = clients.open(case.kind)
    member = awake(clients, group, topic)
    with pytest.raises(Refused) as refused:
        client.delete_group(group)
    assert refused.value.code is ErrorCode.NON_EMPTY_GROUP
    member.close()
    client.delete_group(group)
    seen = witness(clients, case)
    assert group not in seen.list_groups()
    assert other in seen.list_groups()
    assert seen.list_group_offsets(group, topic) == {}
    with pytest.raises(Refused) as refused:
        client.delete_group(group)
    assert refused.value.code is ErrorCode.GROUP_ID_NOT_FOUND


@feature(SECTION, "put a member out of a group", verb="remove_member")
def test_put_a_member_out(clients: Clients, case: Case) -> None:
    """G-8: it is told that nobody knows it, and joins anew."""
    topic = filled(clients)
    group = fresh_name()
    member = awake(clients, group, topic)
    known = witness(clients, case)
    [before] = known.describe_group(group).members
    noticed = len(member.changes())
    clients.open(case.kind).remove_member(group, before.member_id)
    eventually("it is back", lambda: len(member.changes()) > noticed and len(member.assigned()) == 2)
    [after] = known.describe_group(group).members
    assert after.member_id != before.member_id
    with pytest.raises(Refused) as refused:
        clients.open(case.kind).remove_member(group, before.member_id)
    assert refused.value.code is ErrorCode.UNKNOWN_MEMBER_ID
    assert clients.open(READS_BACK[ConfluentClient]).describe_group(group).state == "stable"
