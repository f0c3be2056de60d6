"""The facts of which cluster metadata consists, and their bytes.

A record's value is msgpack: `[kind, version, {field: value}]`. Kinds are numbers that are never reused; a field that
an older record lacks takes its default; a newer version than we know refuses to load, because skipping a fact would
be guessing.
"""

from dataclasses import dataclass, field
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


Fact = TopicCreated | TopicDeleted

VERSION = 0
TOPIC_CREATED = 1
TOPIC_DELETED = 2


class UnknownFact(Exception):
    """A metadata record that this version of the software cannot read."""


def encode(fact: Fact) -> bytes:
    """A record's value."""
    if isinstance(fact, TopicCreated):
        body: dict[str, object] = {
            "name": fact.name,
            "topic_id": fact.topic_id.bytes,
            "partitions": fact.partitions,
            "configs": fact.configs,
        }
        return _pack(TOPIC_CREATED, body)
    return _pack(TOPIC_DELETED, {"topic_id": fact.topic_id.bytes})


def decode(value: bytes) -> Fact:
    """The fact in a record's value. Raises UnknownFact."""
    try:
        kind, version, body = msgpack.unpackb(value)
        if version > VERSION:
            raise UnknownFact(f"metadata record of kind {kind} has version {version}, known is {VERSION}")
        if kind == TOPIC_CREATED:
            return TopicCreated(
                name=str(body["name"]),
                topic_id=UUID(bytes=body["topic_id"]),
                partitions=int(body["partitions"]),
                configs={str(key): str(text) for key, text in body.get("configs", {}).items()},
            )
        if kind == TOPIC_DELETED:
            return TopicDeleted(UUID(bytes=body["topic_id"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnknownFact(f"metadata record is malformed: {error}") from error
    raise UnknownFact(f"metadata record of unknown kind {kind}")


def _pack(kind: int, body: dict[str, object]) -> bytes:
    packed: bytes = msgpack.packb([kind, VERSION, body])
    return packed
