"""The facts of which cluster metadata consists, and their bytes.

A record's value is msgpack: `[kind, version, {field: value}]`. Kinds are numbers that are never reused; a field that
an older record lacks takes its default; a newer version than we know refuses to load, because skipping a fact would
be guessing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from uuid import UUID

import msgpack


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCreated:
    """A topic exists from here on."""

    name: str
    topic_id: UUID
    partitions: int
    configs: dict[str, str] = field(default_factory=dict)
    """The settings given for this topic, as text; all others follow the broker's defaults."""


@dataclass(frozen=True, slots=True)
class TopicDeleted:
    """A topic, by id, exists no more; its name is free."""

    topic_id: UUID


@dataclass(frozen=True, slots=True)
class PartitionsAdded:
    """A topic has this many partitions from here on."""

    topic_id: UUID
    partitions: int
    """In all, the old ones included."""


class ResourceType(IntEnum):
    """What can have settings, in Kafka's numbers."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigsChanged:
    """These, and no others, are the settings made for a resource at run time."""

    resource_type: int
    """A ResourceType: a topic or a broker."""
    resource_name: str
    """For a broker its node id, or nothing for all brokers."""
    configs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProducerIdsAllocated:
    """Producer ids below this one are taken."""

    next_id: int


Fact = TopicCreated | TopicDeleted | PartitionsAdded | ConfigsChanged | ProducerIdsAllocated

VERSION = 0


class FactKind(IntEnum):
    """The numbers of the facts; never reused."""

    TOPIC_CREATED = 1
    TOPIC_DELETED = 2
    PARTITIONS_ADDED = 3
    CONFIGS_CHANGED = 4
    PRODUCER_IDS_ALLOCATED = 5


class UnknownFact(Exception):
    """A metadata record that this version of the software cannot read."""


def encode(fact: Fact) -> bytes:
    """A record's value."""
    match fact:
        case TopicCreated():
            return _pack(
                FactKind.TOPIC_CREATED,
                {
                    "name": fact.name,
                    "topic_id": fact.topic_id.bytes,
                    "partitions": fact.partitions,
                    "configs": fact.configs,
                },
            )
        case TopicDeleted():
            return _pack(FactKind.TOPIC_DELETED, {"topic_id": fact.topic_id.bytes})
        case PartitionsAdded():
            return _pack(FactKind.PARTITIONS_ADDED, {"topic_id": fact.topic_id.bytes, "partitions": fact.partitions})
        case ConfigsChanged():
            return _pack(
                FactKind.CONFIGS_CHANGED,
                {"type": fact.resource_type, "name": fact.resource_name, "configs": fact.configs},
            )
        case ProducerIdsAllocated():
            return _pack(FactKind.PRODUCER_IDS_ALLOCATED, {"next_id": fact.next_id})


def decode(value: bytes) -> Fact:
    """The fact in a record's value. Raises UnknownFact."""
    try:
        kind, version, body = msgpack.unpackb(value)
        if version > VERSION:
            raise UnknownFact(f"metadata record of kind {kind} has version {version}, known is {VERSION}")
        match kind:
            case FactKind.TOPIC_CREATED:
                return TopicCreated(
                    name=str(body["name"]),
                    topic_id=UUID(bytes=body["topic_id"]),
                    partitions=int(body["partitions"]),
                    configs=_texts(body.get("configs", {})),
                )
            case FactKind.TOPIC_DELETED:
                return TopicDeleted(UUID(bytes=body["topic_id"]))
            case FactKind.PARTITIONS_ADDED:
                return PartitionsAdded(UUID(bytes=body["topic_id"]), int(body["partitions"]))
            case FactKind.CONFIGS_CHANGED:
                return ConfigsChanged(
                    resource_type=int(body["type"]),
                    resource_name=str(body["name"]),
                    configs=_texts(body.get("configs", {})),
                )
            case FactKind.PRODUCER_IDS_ALLOCATED:
                return ProducerIdsAllocated(int(body["next_id"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnknownFact(f"metadata record is malformed: {error}") from error
    raise UnknownFact(f"metadata record of unknown kind {kind}")


def _texts(configs: Mapping[object, object]) -> dict[str, str]:
    return {str(name): str(text) for name, text in configs.items()}


def _pack(kind: FactKind, body: dict[str, object]) -> bytes:
    packed: bytes = msgpack.packb([int(kind), VERSION, body])
    return packed
