"""A whole broker, as its clients see it: the scripts, and how it is looked at after a power cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from support.mixed_groups import RANGE, assignment, words
from tidelog.broker.topics.internal_topics import OFFSETS_TOPIC
from tidelog.broker.topics.registry import Topic
from tidelog.protocol.errors import ProtocolError, RequestRefused
from tidelog.protocol.messages.consumer_group_describe import Assignment, ConsumerGroupDescribeRequest
from tidelog.protocol.messages.describe_groups import DescribeGroupsRequest
from tidelog.protocol.messages.join_group import JoinGroupRequestProtocol
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestTopic,
)
from tidelog.storage.errors import StorageError

from .clients import (
    EMPTY,
    BrokerPromises,
    Clients,
    GroupFacts,
    Offset,
    Part,
    TopicBook,
    TopicPromise,
    Value,
)
from .disk import CrashDisk
from .model import Tree
from .promises import Broken, LogBook, LogPromise, Presence, check_log
from .recording import Recorder, Story
from .world import Living, in_a_world, without_alarm

OFFSET_FETCH_VERSION = 7
DESCRIBE_GROUPS_VERSION = 5
LATER_MS = 1_000_000
RECOVERING, LIVING_ON = 100, 101
"""Seeds of what a broker draws by chance; lives of scripts have others."""
NOT_THERE_YET = LogPromise((), 0, 0, Presence.MAY)

# How a broker is looked at.


class BrokerWorld:
    """See `World`."""

    def recover(self, disk: CrashDisk, tree: Tree, promises: BrokerPromises) -> BrokerPromises:
        """See `World`."""

        async def look(house: Living) -> BrokerPromises:
            return await _found(house, tree, promises)

        try:
            return without_alarm(lambda: in_a_world(disk, look, seed=RECOVERING))
        except (StorageError, ProtocolError, RequestRefused) as error:
            raise Broken(f"{type(error).__name__}: {error}") from error

    def live_on(self, disk: CrashDisk, promises: BrokerPromises) -> None:
        """See `World`."""
        recorder = Recorder(disk, promises)
        disk.before_call = None
        clients = Clients(recorder, disk)
        clients.topics = [_book(topic) for topic in promises.topics if topic.presence is Presence.MUST]
        clients.offsets = {key: Value(values[0]) for key, values in promises.offsets.items()}
        clients.groups = {name: Value(values[0]) for name, values in promises.groups.items()}
        clients.defaults = Value(promises.defaults[0])
        clients.handed_out, clients.cluster_id = promises.handed_out, promises.cluster_id
        clients.time_ms += LATER_MS
        try:
            clients.live(_live_on, chance=LIVING_ON)
            after = disk.synced()
            self.recover(CrashDisk(after), after, recorder.promises)
        except (StorageError, ProtocolError, RequestRefused, AssertionError) as error:
            raise Broken(f"cannot be worked with: {type(error).__name__}: {error}") from error


async def _live_on(clients: Clients) -> None:
    producer_id = await clients.new_producer()
    for book in clients.topics:
        for partition in range(book.partitions.may_be[0]):
            await clients.produce(book.name, 30, partition=partition, producer_id=producer_id)
        await clients.commit("another group", book.name, 1)
    await clients.create("another-topic", 2)


def _book(promise: TopicPromise) -> TopicBook:
    book = TopicBook(promise.name, promise.topic_id, promise.presence)
    book.partitions, book.configs = Value(promise.partitions[0]), Value(promise.configs[0])
    for index, log in promise.logs.items():
        book.logs[index] = LogBook(list(log.sent), log.safe, log.epoch, log.presence)
    return book


async def _found(house: Living, tree: Tree, promises: BrokerPromises) -> BrokerPromises:
    """Hold a broker that has started against what was promised; what must be found from now on. Raises Broken."""
    services = house.server.services
    if promises.cluster_id and services.cluster.cluster_id != promises.cluster_id:
        raise Broken(f"the cluster is called {services.cluster.cluster_id}, it was {promises.cluster_id}")
    there = {topic.name: topic for topic in services.topics}
    topics = []
    for promise in promises.topics:
        topic = there.get(promise.name)
        if promise.presence is Presence.MUST_NOT:
            if topic is not None and topic.topic_id == promise.topic_id:
                raise Broken(f"{promise.name}: was deleted, and is there")
            topics.append(promise)
            continue
        there.pop(promise.name, None)
        topics.append(_found_topic(topic, tree, promise))
    for topic in there.values():
        if topic.name != OFFSETS_TOPIC:
            raise Broken(f"{topic.name}: nobody made it")
        _check_offsets_topic(topic)
    defaults = services.configs.current.log.max_message_bytes
    default = next((text for text in promises.defaults if text == str(defaults)), promises.defaults[0])
    if default == "" or str(defaults) not in promises.defaults:
        if "" not in promises.defaults or str(defaults) in promises.defaults[1:]:
            raise Broken(f"message.max.bytes is {defaults}, set were {promises.defaults}")
        default = ""
    return replace(
        promises,
        topics=tuple(topics),
        offsets=await _found_offsets(house, promises),
        groups=await _found_groups(house, promises),
        defaults=(default,),
        cluster_id=services.cluster.cluster_id,
    )


def _found_topic(topic: Topic | None, tree: Tree, promise: TopicPromise) -> TopicPromise:
    if topic is None:
        if promise.presence is Presence.MUST:
            raise Broken(f"{promise.name}: must be there")
        return replace(promise, presence=Presence.MUST_NOT)
    if promise.topic_id not in (None, topic.topic_id):
        raise Broken(f"{promise.name}: has the id {topic.topic_id}, it was {promise.topic_id}")
    count = len(topic.partitions)
    if count not in promise.partitions:
        raise Broken(f"{promise.name}: has {count} partitions, it may have {promise.partitions}")
    if dict(topic.configs) not in promise.configs:
        raise Broken(f"{promise.name}: is set to {topic.configs}, it may be {promise.configs}")
    logs = {}
    for partition in topic.partitions:
        name = f"{promise.name}-{partition.index}"
        files = tree.get(name, {})
        assert isinstance(files, dict)
        size = sum(len(data) for file, data in files.items() if file.endswith(".log"))
        expected = promise.logs.get(partition.index, NOT_THERE_YET)
        logs[partition.index] = check_log(partition.log, expected, bytes_there=size)
        if partition.high_watermark != logs[partition.index].end_offset:
            raise Broken(f"{name}: consumers see up to {partition.high_watermark} only")
    return replace(
        promise,
        topic_id=topic.topic_id,
        presence=Presence.MUST,
        partitions=(count,),
        configs=(dict(topic.configs),),
        logs=logs,
    )


def _check_offsets_topic(topic: Topic) -> None:
    for partition in topic.partitions:
        if partition.log.offline:
            raise Broken(f"{OFFSETS_TOPIC}-{partition.index}: came up offline, {partition.log.recovered}")


async def _found_offsets(house: Living, promises: BrokerPromises) -> Mapping[Offset, tuple[int, ...]]:
    found: dict[Offset, tuple[int, ...]] = {}
    for key, may_be in promises.offsets.items():
        group, topic, partition = key
        request = OffsetFetchRequest(
            group_id=group, topics=(OffsetFetchRequestTopic(name=topic, partition_indexes=(partition,)),)
        )
        response = await house.ask(request, OFFSET_FETCH_VERSION)
        [result] = response.topics[0].partitions  # type: ignore[attr-defined]
        if response.error_code or result.error_code:  # type: ignore[attr-defined]
            raise Broken(f"the offsets of {group} cannot be read: {response}")
        if result.committed_offset not in may_be:
            raise Broken(f"{key}: {result.committed_offset} is committed, it may be {may_be}")
        found[key] = (result.committed_offset,)
    return found


async def _found_groups(house: Living, promises: BrokerPromises) -> Mapping[str, tuple[GroupFacts, ...]]:
    found: dict[str, tuple[GroupFacts, ...]] = {}
    for name, may_be in promises.groups.items():
        facts = await _group(house, name)
        if facts not in may_be:
            raise Broken(f"the group {name} is {facts}; it may be {may_be}")
        found[name] = (facts,)
    return found


async def _group(house: Living, name: str) -> GroupFacts:
    response = await house.ask(ConsumerGroupDescribeRequest(group_ids=(name,)))
    [consumers] = response.groups  # type: ignore[attr-defined]
    if not consumers.error_code:
        parts = tuple(
            (one.member_id, Part(one.member_epoch, _numbers(one.assignment), _numbers(one.target_assignment)))
            for one in consumers.members
        )
        return GroupFacts(consumers.group_state, parts)
    response = await house.ask(DescribeGroupsRequest(groups=(name,)), DESCRIBE_GROUPS_VERSION)
    [classic] = response.groups  # type: ignore[attr-defined]
    if classic.error_code:
        raise Broken(f"the group {name} cannot be described: {classic}")
    return GroupFacts(classic.group_state, tuple((one.member_id, one.member_assignment) for one in classic.members))


def _numbers(assignment: Assignment) -> tuple[int, ...]:
    """Of partitions; a member of these scripts reads one topic."""
    return tuple(number for topic in assignment.topic_partitions for number in topic.partitions)


# The scripts.


def told(
    script: Callable[[Clients], None], ignores: tuple[tuple[str, str], ...] = (), *, variant: int = 0
) -> Story[BrokerPromises]:
    """Run a script on a new disk, on which those calls do nothing."""
    disk = CrashDisk(ignores=ignores)
    recorder = Recorder(disk, BrokerPromises())
    script(Clients(recorder, disk, variant=variant))
    return Story(script.__name__, variant, BrokerWorld(), recorder.moments)


def topics_come_and_go(clients: Clients) -> None:
    """Created, written to, grown, deleted, and another of the same name."""

    async def life(clients: Clients) -> None:
        await clients.create("orders", 2)
        await clients.produce("orders", 50)
        await clients.create("other")
        await clients.grow("orders", 3)
        await clients.produce("orders", 60, 60, partition=2)
        await clients.delete("orders")
        await clients.create("orders", 1)
        await clients.produce("orders", 70)

    clients.live(life, stop=False)


def settings_change(clients: Clients) -> None:
    """A topic's own, and those of all brokers; stopped and started in between."""

    async def first(clients: Clients) -> None:
        await clients.create("orders", max_message_bytes="100000")
        await clients.configure("orders", segment_bytes="2048")
        await clients.produce("orders", 900)
        await clients.set_default("123456")

    async def second(clients: Clients) -> None:
        await clients.configure("orders", max_message_bytes="200000")
        await clients.produce("orders", 800, 800)
        await clients.set_default("234567")

    clients.live(first)
    clients.live(second, stop=False, chance=1)


def groups_read(clients: Clients) -> None:
    """Members come and go, offsets are committed by them and by nobody in particular; a group is deleted."""

    async def first(clients: Clients) -> None:
        await clients.create("orders")
        await clients.produce("orders", 20)
        await clients.commit("loose", "orders", 1)
        member, generation = await clients.join("readers")
        await clients.commit("readers", "orders", 1, member=member, generation=generation)
        await clients.commit("readers", "orders", 2, member=member, generation=generation)
        await clients.leave("readers", member)
        await clients.commit("loose", "orders", 5)

    async def second(clients: Clients) -> None:
        await clients.join("readers")
        await clients.delete_group("loose")
        await clients.commit("loose", "orders", 6)

    clients.live(first)
    clients.live(second, stop=False, chance=1)


def consumers_are_assigned_to(clients: Clients) -> None:
    """The broker shares the partitions out (KIP-848): consumers join, give up, take, commit and leave."""

    async def first(clients: Clients) -> None:
        await clients.create("orders", 2)
        await clients.produce("orders", 20)
        alone = Part(1, (0, 1), (0, 1))
        await clients.beat("crowd", "orders", "ann", 0, GroupFacts("Stable", (("ann", alone),)))
        await clients.commit("crowd", "orders", 1, member="ann", generation=1)
        bob = ("bob", Part(2, (), (1,)))
        ann = ("ann", alone._replace(shall_have=(0,)))
        await clients.beat("crowd", "orders", "bob", 0, GroupFacts("Reconciling", (ann, bob)))
        ann = ("ann", Part(1, (0,), (0,)))
        await clients.beat("crowd", "orders", "ann", 1, GroupFacts("Reconciling", (ann, bob)))
        ann = ("ann", Part(2, (0,), (0,)))
        await clients.beat("crowd", "orders", "ann", 1, GroupFacts("Reconciling", (ann, bob)), has=(0,))
        bob = ("bob", Part(2, (1,), (1,)))
        await clients.beat("crowd", "orders", "bob", 2, GroupFacts("Stable", (ann, bob)))
        await clients.commit("crowd", "orders", 7, partition=1, member="bob", generation=2)

    async def second(clients: Clients) -> None:
        bob = ("bob", Part(2, (1,), (1,)))
        await clients.beat("crowd", "orders", "ann", -1, GroupFacts("Assigning", (bob,)))
        bob = ("bob", Part(3, (0, 1), (0, 1)))
        await clients.beat("crowd", "orders", "bob", 2, GroupFacts("Stable", (bob,)))
        await clients.beat("crowd", "orders", "bob", -1, EMPTY)
        await clients.delete_group("crowd")

    clients.live(first)
    clients.live(second, stop=False, chance=1)


def groups_migrate(clients: Clients) -> None:
    """A consumer of the other protocol joins a classic group, which becomes one of its own; and all the way back."""

    async def life(clients: Clients) -> None:
        await clients.create("orders", 2)
        protocol = JoinGroupRequestProtocol(name=RANGE, metadata=words(["orders"]))
        everything = assignment({("orders", 0), ("orders", 1)})
        old, generation = await clients.join("readers", kind="consumer", protocol=protocol, assignment=everything)
        await clients.commit("readers", "orders", 3, member=old, generation=generation)
        both = ((old, Part(1, (0, 1), (0,))), ("new", Part(2, (), (1,))))
        await clients.beat("readers", "orders", "new", 0, GroupFacts("Reconciling", both))
        await clients.commit("readers", "orders", 4, member=old, generation=generation)
        half = (old, assignment({("orders", 0)}))
        # It prepares a rebalance, of which nothing is written down: who finds the group again finds it stable.
        await clients.beat("readers", "orders", "new", -1, GroupFacts("Stable", (half,)))
        await clients.leave("readers", old)
        alone = ("new", Part(1, (0, 1), (0, 1)))
        await clients.beat("readers", "orders", "new", 0, GroupFacts("Stable", (alone,)))
        await clients.commit("readers", "orders", 5, member="new", generation=1)

    clients.live(life, stop=False)


def producers_number_their_batches(clients: Clients) -> None:
    """Ids are handed out in three lives, of which one ends in a kill; marks and checkpoints are written meanwhile."""

    async def life(clients: Clients) -> None:
        if not clients.topics:
            await clients.create("orders", segment_bytes="2048")
        producer_id = await clients.new_producer()
        for size in (300, 500, 400):
            await clients.produce("orders", size, 40, producer_id=producer_id)
        await clients.tick()
        await clients.produce("orders", 1100, producer_id=producer_id)

    async def last(clients: Clients) -> None:
        await clients.produce("orders", 30, producer_id=await clients.new_producer())

    clients.live(life)
    clients.live(life, stop=False, chance=1)
    clients.live(last, chance=2)


SCRIPTS: tuple[Callable[[Clients], None], ...] = (
    topics_come_and_go,
    settings_change,
    groups_read,
    consumers_are_assigned_to,
    groups_migrate,
    producers_number_their_batches,
)
