"""Each client as a member of groups: they share partitions, go on where others left off, come, leave and come back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count

from support.clients.aio import AioClient
from support.clients.confluent import ConfluentClient
from support.clients.features import READS_BACK, Case, feature
from support.clients.house import Clients, fresh_name, write
from support.clients.membership import eventually
from support.clients.model import (
    Client,
    Joining,
    Member,
    NewTopic,
    Place,
    Position,
    Protocols,
    Read,
    Sent,
)
from support.clients.pure_python import PythonClient

SECTION = "Consume in a group"
BOTH: Mapping[str, str] = {"classic": "join_group", "consumer": "join_consumer_group"}
"""The two protocols, and the verbs that speak them."""


def joining(case: Case, *topics: str, group: str = "") -> Joining:
    """Into a group, a new one if none is named, by the case's protocol."""
    return Joining(group=group or fresh_name(), topics=topics, protocol=Protocols(case.variant or "classic"))


def fill(clients: Clients, case: Case, topic: str, values: Mapping[int, Sequence[bytes]]) -> None:
    """Let another client write these values into these partitions."""
    records = [Sent(key=b"k", value=value, partition=number) for number, found in values.items() for value in found]
    write(clients.open(READS_BACK[case.kind]), topic, records)


def numbered(word: str, how_many: int) -> list[bytes]:
    """Values that tell which they are."""
    return [f"{word} {number}".encode() for number in range(how_many)]


def by_place(found: Iterable[Read]) -> dict[int, list[tuple[int, bytes | None]]]:
    """Offsets and values of each partition, in the order in which they came."""
    placed: dict[int, list[tuple[int, bytes | None]]] = {}
    for one in found:
        placed.setdefault(one.partition, []).append((one.offset, one.value))
    return placed


def places(topic: str, partitions: int) -> frozenset[Place]:
    """All places of a topic."""
    return frozenset((topic, partition) for partition in range(partitions))


def read_held(member: Member, count: int) -> list[Read]:
    """The next so many records of what it holds; a fetch that was on its way may bring others."""
    held = {partition for _, partition in member.assigned()}
    found: list[Read] = []
    while len(found) < count:
        found += [one for one in member.read(1) if one.partition in held]
    return found


def settle(members: Sequence[Member], held: frozenset[Place]) -> None:
    """Wait until they share these places, each of them with a part."""

    def is_shared() -> bool:
        parts = [member.assigned() for member in members]
        return all(parts) and sum(map(len, parts)) == len(held) and frozenset().union(*parts) == held

    eventually(f"{len(members)} members share {len(held)} partitions", is_shared)


def witness(clients: Clients, case: Case) -> Client:
    """Another client that shows what a group has committed, and its metadata as they are, which confluent does not."""
    return clients.open(PythonClient if case.kind is AioClient else AioClient)


# -- offsets --


@feature(SECTION, "from the beginning, by the {} protocol", verb=BOTH)
def test_from_the_beginning(clients: Clients, case: Case) -> None:
    topic = clients.topic(partitions=3)
    values = {partition: numbered(f"p{partition}", 30) for partition in range(3)}
    fill(clients, case, topic, values)
    member = clients.join(case.kind, joining(case, topic))
    assert by_place(member.read(90)) == {partition: list(enumerate(found)) for partition, found in values.items()}
    fill(clients, case, topic, {1: [b"later"]})
    assert by_place(member.read(1)) == {1: [(30, b"later")]}


@feature(SECTION, "from the end: only what comes afterwards", verb="join_group")
def test_from_the_end(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    fill(clients, case, topic, {0: numbered("before", 10)})
    member = clients.join(case.kind, replace(joining(case, topic), from_the_end=True))
    settle([member], places(topic, 1))
    # When it looks up where the end is, a client does not say: what is written until then it need not read.
    found: list[Read] = []
    for number in count():
        fill(clients, case, topic, {0: [b"after %d" % number]})
        found += member.idle()
        if found:
            break
    assert [(one.offset, one.value) for one in found] == [
        (10 + number, b"after %d" % number) for number in range(found[0].offset - 10, number + 1)
    ]


@feature(SECTION, "where offsets were committed by hand the next member goes on, by the {} protocol", verb=BOTH)
def test_offsets_committed_by_hand(clients: Clients, case: Case) -> None:
    """G-10, C-7: exactly there, in each partition."""
    topic = clients.topic(partitions=2)
    values = {partition: numbered(f"p{partition}", 10) for partition in range(2)}
    fill(clients, case, topic, values)
    how = joining(case, topic)
    member = clients.join(case.kind, how)
    member.read(20)
    member.commit({(topic, 0): Position(5), (topic, 1): Position(10)})
    assert member.committed((topic, 0)) == Position(5)
    member.close()
    seen = witness(clients, case).list_group_offsets(how.group, topic)
    assert {partition: position.offset for partition, position in seen.items()} == {0: 5, 1: 10}
    member = clients.join(case.kind, how)
    assert by_place(member.read(5)) == {0: list(enumerate(values[0]))[5:]}
    assert member.idle() == []
    fill(clients, case, topic, {1: [b"later"]})
    assert by_place(member.read(1)) == {1: [(10, b"later")]}


@feature(SECTION, "where offsets were committed by the client itself the next member goes on", verb="join_group")
def test_offsets_committed_by_the_client_itself(clients: Clients, case: Case) -> None:
    topic = clients.topic(partitions=2)
    fill(clients, case, topic, {partition: numbered(f"p{partition}", 10) for partition in range(2)})
    how = replace(joining(case, topic), commits_by_itself=True)
    member = clients.join(case.kind, how)
    member.read(20)
    member.close()
    fill(clients, case, topic, {0: [b"later 0"], 1: [b"later 1"]})
    member = clients.join(case.kind, how)
    assert by_place(member.read(2)) == {0: [(10, b"later 0")], 1: [(10, b"later 1")]}
    assert member.idle() == []


@feature(SECTION, "metadata of a commit", verb="join_group")
def test_metadata_of_a_commit(clients: Clients, case: Case) -> None:
    """G-10: what the member says about its commit comes back as it was."""
    topic = clients.topic(partitions=2)
    fill(clients, case, topic, {0: numbered("p0", 3), 1: numbered("p1", 3)})
    how = joining(case, topic)
    member = clients.join(case.kind, how)
    member.read(6)
    positions = {(topic, 0): Position(3, "as far as ü, and \x01"), (topic, 1): Position(1, "")}
    member.commit(positions)
    seen = witness(clients, case).list_group_offsets(how.group, topic)
    if case.kind is ConfluentClient:  # which sends the end of C's string along
        seen = {partition: Position(one.offset, one.metadata.removesuffix("\0")) for partition, one in seen.items()}
    assert {(topic, partition): position for partition, position in seen.items()} == positions
    found = member.committed((topic, 0))
    assert found is not None
    assert found.offset == 3
    assert found.metadata in ("", positions[topic, 0].metadata)


@feature(SECTION, "seek to an offset", verb="join_group")
def test_seek_to_an_offset(clients: Clients, case: Case) -> None:
    topic = clients.topic(partitions=2)
    values = {partition: numbered(f"p{partition}", 10) for partition in range(2)}
    fill(clients, case, topic, values)
    member = clients.join(case.kind, joining(case, topic))
    member.read(20)
    member.seek((topic, 1), 3)
    assert by_place(member.read(7)) == {1: list(enumerate(values[1]))[3:]}
    assert member.idle() == []


@feature(SECTION, "pause and resume a partition", verb="join_group")
def test_pause_and_resume_a_partition(clients: Clients, case: Case) -> None:
    topic = clients.topic(partitions=2)
    member = clients.join(case.kind, joining(case, topic))
    settle([member], places(topic, 2))
    member.pause((topic, 0))
    fill(clients, case, topic, {0: [b"paused"], 1: [b"read"]})
    assert by_place(member.read(1)) == {1: [(0, b"read")]}
    assert member.idle() == []
    member.resume((topic, 0))
    assert by_place(member.read(1)) == {0: [(0, b"paused")]}


# -- rebalances --


@feature(SECTION, "members share partitions, and take over when one leaves, by the {} protocol", verb=BOTH)
def test_members_share_partitions(clients: Clients, case: Case) -> None:
    """G-3 to G-8, C-3: each partition has one reader."""
    topic = clients.topic(partitions=6)
    how = joining(case, topic)
    first = clients.join(case.kind, how)
    settle([first], places(topic, 6))
    second = clients.join(case.kind, how)
    settle([first, second], places(topic, 6))
    third = clients.join(case.kind, how)
    settle([first, second, third], places(topic, 6))
    first.close()
    settle([second, third], places(topic, 6))
    assert second.idle() == third.idle() == []  # and no fetch is under way any more that was meant for others
    fill(clients, case, topic, {partition: [b"%d" % partition] for partition in range(6)})
    for member in (second, third):
        held = {partition for _, partition in member.assigned()}
        assert by_place(member.read(len(held))) == {partition: [(0, b"%d" % partition)] for partition in held}
        assert member.idle() == []


def assert_moves_only_what_must(clients: Clients, case: Case, how: Joining) -> None:
    """A third member takes from the others what it gets, they lose nothing for a moment, and it gives it back."""
    [topic] = how.topics
    staying = [clients.join(case.kind, how)]
    settle(staying, places(topic, 12))
    staying.append(clients.join(case.kind, how))
    settle(staying, places(topic, 12))
    before = [(member.assigned(), len(member.changes())) for member in staying]
    third = clients.join(case.kind, how)
    settle([*staying, third], places(topic, 12))
    with_third = [(member.assigned(), len(member.changes())) for member in staying]
    for member, (had, known) in zip(staying, before, strict=True):
        kept = member.assigned()
        assert kept < had
        assert len(kept) == 4
        assert all(kept <= held <= had for held in member.changes()[known:])
    third.close()
    settle(staying, places(topic, 12))
    for member, (had, known) in zip(staying, with_third, strict=True):
        assert len(member.assigned()) == 6
        assert all(had <= held for held in member.changes()[known:])


@feature(SECTION, "cooperative-sticky moves only what must move", verb="join_group")
def test_cooperative_sticky_moves_only_what_must_move(clients: Clients, case: Case) -> None:
    """G-14."""
    assert_moves_only_what_must(
        clients, case, replace(joining(case, clients.topic(partitions=12)), is_cooperative=True)
    )


@feature(SECTION, "the broker moves only what must move (KIP-848)", verb={"consumer": "join_consumer_group"})
def test_the_broker_moves_only_what_must_move(clients: Clients, case: Case) -> None:
    """C-3, C-5."""
    assert_moves_only_what_must(clients, case, joining(case, clients.topic(partitions=12)))


@feature(SECTION, "a static member comes back without a rebalance, by the {} protocol", verb=BOTH)
def test_a_static_member_comes_back(clients: Clients, case: Case) -> None:
    """G-9, C-6: it gets what it had, and the others notice nothing."""
    topic = clients.topic(partitions=4)
    how = joining(case, topic)
    first = clients.join(case.kind, replace(how, instance_id="first"))
    settle([first], places(topic, 4))
    second = clients.join(case.kind, replace(how, instance_id="second"))
    settle([first, second], places(topic, 4))
    for leaves in ("first", "second"):
        gone, stays = (first, second) if leaves == "first" else (second, first)
        had, noticed = gone.assigned(), len(stays.changes())
        gone.close()
        back = clients.join(case.kind, replace(how, instance_id=leaves))
        eventually("the static member is back", lambda back=back, had=had: back.assigned() == had)  # type: ignore[misc]
        fill(clients, case, topic, {partition: [leaves.encode()] for partition in range(4)})
        eventually("both read", lambda back=back, stays=stays: bool(back.read(1) and stays.read(1)))  # type: ignore[misc]
        assert len(stays.changes()) == noticed
        first, second = (back, stays) if leaves == "first" else (stays, back)


@feature(SECTION, "a broker that is killed (kill -9) causes no rebalance, by the {} protocol", verb=BOTH)
def test_members_outlive_the_broker(own: Clients, case: Case) -> None:
    """G-13: the group is there again with its members, their partitions and what they have committed."""
    topic = own.topic(partitions=4)
    how = joining(case, topic)
    members = [own.join(case.kind, how)]
    settle(members, places(topic, 4))
    members.append(own.join(case.kind, how))
    settle(members, places(topic, 4))
    fill(own, case, topic, {partition: [b"before"] for partition in range(4)})
    for member in members:
        assert by_place(read_held(member, 2)) == {partition: [(0, b"before")] for _, partition in member.assigned()}
        if case.kind.commits_by_hand:
            member.commit({place: Position(1) for place in member.assigned()})
    noticed = [len(member.changes()) for member in members]
    own.broker.kill()
    own.broker.start()
    fill(own, case, topic, {partition: [b"after"] for partition in range(4)})
    for member in members:
        assert by_place(read_held(member, 2)) == {partition: [(1, b"after")] for _, partition in member.assigned()}
    if case.kind.commits_by_hand:
        for member in members:
            assert all(member.committed(place) == Position(1) for place in member.assigned())
            member.commit({place: Position(2) for place in member.assigned()})
    assert [len(member.changes()) for member in members] == noticed, own.broker.log_text()


# -- subscriptions --


@feature(SECTION, "topics by a pattern, by the {} protocol", verb=BOTH)
def test_topics_by_a_pattern(clients: Clients, case: Case) -> None:
    """C-1: those that fit, and no others."""
    prefix = fresh_name()
    admin = clients.open(ConfluentClient)
    for name in (f"{prefix}.a", f"{prefix}.b", f"{prefix}x", f"x{prefix}.c"):
        admin.create_topic(NewTopic(name=name, partitions=2))
    member = clients.join(case.kind, replace(joining(case), pattern=rf"^{prefix}\..*"))
    fits = places(f"{prefix}.a", 2) | places(f"{prefix}.b", 2)
    settle([member], fits)
    for name in (f"{prefix}.a", f"{prefix}.b"):
        fill(clients, case, name, {1: [name.encode()]})
    assert {one.value for one in member.read(2)} == {f"{prefix}.a".encode(), f"{prefix}.b".encode()}
    assert member.assigned() == fits


@feature(SECTION, "a topic that comes later and fits the pattern, by the {} protocol", verb=BOTH)
def test_a_topic_that_comes_later(clients: Clients, case: Case) -> None:
    prefix = fresh_name()
    admin = clients.open(ConfluentClient)
    admin.create_topic(NewTopic(name=f"{prefix}.a"))
    member = clients.join(case.kind, replace(joining(case), pattern=rf"^{prefix}\..*"))
    settle([member], places(f"{prefix}.a", 1))
    admin.create_topic(NewTopic(name=f"{prefix}.b", partitions=2))
    settle([member], places(f"{prefix}.a", 1) | places(f"{prefix}.b", 2))
    fill(clients, case, f"{prefix}.b", {0: [b"found"]})
    assert [one.value for one in member.read(1)] == [b"found"]


@feature(SECTION, "partitions that are added to a topic find a reader, by the {} protocol", verb=BOTH)
def test_partitions_that_are_added(clients: Clients, case: Case) -> None:
    """C-2: a change of the topic is a reason to assign anew."""
    topic = clients.topic(partitions=1)
    member = clients.join(case.kind, joining(case, topic))
    settle([member], places(topic, 1))
    clients.open(ConfluentClient).create_partitions(topic, 3)
    settle([member], places(topic, 3))
    fill(clients, case, topic, {2: [b"found"]})
    assert [one.value for one in member.read(1)] == [b"found"]
