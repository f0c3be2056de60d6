"""The same with a whole broker: what its clients see of everything else when one file is damaged.

A broker that starts serves all that does not lie in the damaged partition as if nothing had happened, and what does as
it was, or with an error. One that does not start says so, has changed nothing, and was kept from it by the cluster's
metadata or by the directory's own properties.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from support.builders import a_batch
from support.flat_disk import FlatDisk, Tree
from support.groups import commit, join_alone
from tidelog.broker.coordinator.group_partition import partition_for
from tidelog.broker.metadata.soundness import MetadataDamaged
from tidelog.broker.topics.internal_topics import METADATA_TOPIC, OFFSETS_TOPIC
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.batch import walk
from tidelog.protocol.errors import RequestRefused
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.describe_groups import DescribeGroupsRequest
from tidelog.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestTopic
from tidelog.storage.errors import StorageError

from ..images.disk import CrashDisk
from ..images.world import Living, in_a_world
from .damage import Damage
from .examine import Outcome, Wrong
from .specimens import Stop

READ_SIZE: Final = 1 << 20
HOUSEKEEPING_S: Final = 2.5
"""The durable marks are written by then."""
LOADING_S: Final = 1.0
TOPICS: Final = {"orders": 2, "other": 1}
GROUPS: Final = ("loose", "readers", "writers")
ERROR: Final = "error"

Seen = Mapping[str, object]
"""What clients see, by a name that begins with the directory in which it lies, or with `*`: in the metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseSpecimen:
    """A data directory of a broker, and what its clients see."""

    name: str
    tree: Tree
    earlier: tuple[Tree, ...]
    seen: Seen

    @property
    def files(self) -> tuple[str, ...]:
        """All that are not empty."""
        return tuple(sorted(path for path, data in self.tree.items() if data))


def a_house_specimen(stop: Stop) -> HouseSpecimen:
    """Topics, records, committed offsets and groups, after a stop of that kind."""
    disk = FlatDisk()
    earlier: list[Tree] = []

    async def life(house: Living) -> None:
        for name, partitions in TOPICS.items():
            await house.create(name, partitions, segment_bytes="1024")
            for partition in range(partitions):
                await _produce(house, name, partition, 3)
        earlier.append(disk.tree())
        await commit(house, "loose", "orders", 0, 1)
        for group in ("readers", "writers"):
            await join_alone(house, group)
        await house.create("gone")
        await _delete(house, "gone")
        await commit(house, "loose", "orders", 1, 2)
        await _produce(house, "orders", 0, 3)
        await _sleep(HOUSEKEEPING_S)
        if stop is Stop.CLEAN:
            await house.server.stop()

    _live(disk, life)
    disk.kill()
    tree = disk.tree()
    seen = _seen_in(FlatDisk(tree))
    assert ERROR not in seen.values(), seen
    return HouseSpecimen(name=f"house {stop}", tree=tree, earlier=tuple(earlier), seen=seen)


def examine_house(specimen: HouseSpecimen, damage: Damage) -> Outcome:
    """What the damage comes to. Raises Wrong."""
    tree = dict(specimen.tree)
    if damage.data is None:
        del tree[damage.path]
    else:
        tree[damage.path] = damage.data
    disk = FlatDisk(tree)
    home = damage.path.partition("/")[0] if "/" in damage.path else ""
    try:
        seen = _seen_in(disk)
    except (StorageError, MetadataDamaged):
        changed = disk.changed_since(tree)
        if changed - {".lock"}:
            raise Wrong(f"{damage.path}: {damage.how}: refused, and yet changed: {changed}") from None
        if home not in ("", f"{METADATA_TOPIC}-0"):
            raise Wrong(f"{damage.path}: {damage.how}: one partition keeps the broker from starting") from None
        return Outcome.REFUSED
    outcome = Outcome.HARMLESS
    for name in specimen.seen.keys() | seen.keys():
        expected, found = specimen.seen.get(name), seen.get(name)
        if found == expected:
            continue
        if found != ERROR or name.partition(" ")[0] != home:
            raise Wrong(f"{damage.path}: {damage.how}: {name} is {found!r} instead of {expected!r}")
        outcome = Outcome.FOUND
    return outcome


def _live(disk: FlatDisk, life: object) -> object:
    return in_a_world(cast(CrashDisk, disk), life, seed=1)  # type: ignore[arg-type]


def _seen_in(disk: FlatDisk) -> Seen:
    seen: dict[str, object] = {}

    async def look(house: Living) -> None:
        await _sleep(LOADING_S)
        await _look(house, seen)

    _live(disk, look)
    return seen


async def _look(house: Living, seen: dict[str, object]) -> None:
    seen["* cluster"] = house.server.services.cluster.cluster_id
    for topic in house.server.topics:
        seen[f"* topic {topic.name}"] = (topic.topic_id, len(topic.partitions), dict(topic.configs))
        for partition in topic.partitions:
            if topic.name != OFFSETS_TOPIC:
                seen[f"{topic.name}-{partition.index} records"] = _records(partition)
    count = len(house.server.topics.by_name(OFFSETS_TOPIC).partitions)  # type: ignore[union-attr]
    for group in GROUPS:
        directory = f"{OFFSETS_TOPIC}-{partition_for(group, count)}"
        response = await house.ask(DescribeGroupsRequest(groups=(group,)), 5)
        [described] = response.groups  # type: ignore[attr-defined]
        members = tuple((member.member_id, member.member_assignment) for member in described.members)
        seen[f"{directory} group {group}"] = ERROR if described.error_code else (described.group_state, members)
        for index in range(TOPICS["orders"]):
            seen[f"{directory} offset {group} {index}"] = await _committed(house, group, index)


async def _committed(house: Living, group: str, partition: int) -> object:
    wanted = OffsetFetchRequestTopic(name="orders", partition_indexes=(partition,))
    response = await house.ask(OffsetFetchRequest(group_id=group, topics=(wanted,)), 7)
    if response.error_code:  # type: ignore[attr-defined]
        return ERROR
    [result] = response.topics[0].partitions  # type: ignore[attr-defined]
    return ERROR if result.error_code else result.committed_offset


def _records(partition: Partition) -> object:
    """All of them, in a row."""
    found, offset = bytearray(), partition.log_start_offset
    try:
        while offset < partition.high_watermark:
            fetched = partition.read(offset, size_max=READ_SIZE, at_least_one=True)
            if not len(fetched.records):
                return ERROR
            for _, header in walk(fetched.records):
                if header.base_offset != offset:
                    return f"offset {header.base_offset} where {offset} should be"
                offset = header.next_offset
            found += fetched.records
        partition.read(offset, size_max=READ_SIZE, at_least_one=True)
    except (StorageError, RequestRefused):
        return ERROR
    return ERROR if partition.log.offline else bytes(found)


async def _produce(house: Living, topic: str, partition: int, count: int) -> None:
    for number in range(count):
        batch = a_batch([b"%s %d %d" % (topic.encode(), partition, number)] * 3, base_timestamp=1000 + number)
        answer = await house.produce(topic, batch, partition=partition)
        assert getattr(answer, "error_code", 0) == 0, answer


async def _delete(house: Living, name: str) -> None:
    response = await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name=name),)))
    assert response.responses[0].error_code == 0, response  # type: ignore[attr-defined]


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)
