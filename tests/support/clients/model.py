"""What the compatibility suite asks of a client: the same verbs for each, and what a client cannot do, said aloud.

A driver is a class that inherits from `Client` and overrides the verbs that its client has. A verb that it leaves as it
is here is a call that the client lacks: the table of docs/compatibility.md shows it as such, and no test runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, NoReturn, Protocol
from uuid import UUID

from tidelog.protocol.errors import ErrorCode

PATIENCE_S = 45.0
"""How long a client may take for anything at all, on a busy machine; nothing is decided by it."""

FETCH_WAIT_MS = 100
"""How long the readers let the broker hold a fetch: closing one waits for its last fetch."""

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Refused(Exception):
    """The broker said no, and the client said so to the program."""

    def __init__(self, code: int, message: str = "") -> None:
        known = ErrorCode.of(code)
        self.code = known
        super().__init__(f"{getattr(known, 'name', known)} {message}")


class ClientFailed(Exception):
    """The client reported an error of its own, not one that the broker answered."""


class CannotDo(Exception):
    """The client has no such call: a test that gets here was not to be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A record to be written."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int = 0
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A record that was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a writer writes."""

    codec: str = "none"
    acks: int = -1
    idempotent: bool = False
    linger_ms: int = 0
    batch_size: int | None = None
    creates_topics: bool = False
    lasting: bool = False
    """One and the same producer is to write whatever is sent."""


class Origin(Enum):
    """From where a reader counts."""

    EARLIEST = "earliest"
    LATEST = "latest"
    OFFSET = "offset"
    TIME = "time"
    LAST = "last"
    MAX_TIMESTAMP = "max timestamp"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a reader begins."""

    origin: Origin
    number: int = 0
    """The offset, the time in milliseconds, or how many records before the end."""
    is_the_end: bool = False
    """There is nothing from there on yet: a reader is ready when it knows where that is, or it misses what comes."""


EARLIEST = Start(Origin.EARLIEST)
LATEST = Start(Origin.LATEST, is_the_end=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a reader reads."""

    starts: Mapping[tuple[str, int], Start]
    """By topic and partition."""
    partition_bytes_max: int | None = None
    bytes_max: int | None = None


class Writer(Protocol):
    """A producer that stays open."""

    def send(self, topic: str, records: Sequence[Sent]) -> Mapping[int, int]:
        """Write them, wait for the acknowledgements, and return the first offset in each partition.

        Empty where the client is told none: with acks=0, and from a client that hides it.
        """

    def close(self) -> None:
        """End it."""


class Reader(Protocol):
    """A consumer without a group, open at its positions."""

    def read(self, count: int) -> list[Read]:
        """The next so many records, in the order in which the client gave them."""

    def close(self) -> None:
        """End it."""


Place = tuple[str, int]
"""A topic and a partition."""


class Protocols(Enum):
    """The two ways to be a member."""

    CLASSIC = "classic"
    CONSUMER = "consumer"
    """KIP-848."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """How a member takes part."""

    group: str
    topics: tuple[str, ...] = ()
    pattern: str | None = None
    """Instead of topics: a regular expression that begins with `^`."""
    protocol: Protocols = Protocols.CLASSIC
    is_cooperative: bool = False
    """In the classic protocol: by cooperative-sticky."""
    instance_id: str | None = None
    commits_by_itself: bool = False
    from_the_end: bool = False
    """Where nothing is committed; else from the beginning."""


@dataclass(frozen=True, slots=True)
class Position:
    """A committed offset."""

    offset: int
    metadata: str = ""


class Member(Protocol):
    """One member of a group, that reads on in the background."""

    def read(self, count: int) -> list[Read]:
        """The next so many records."""

    def idle(self) -> list[Read]:
        """What else it has read; to be asked when nothing more may come."""

    def assigned(self) -> frozenset[Place]:
        """What it holds now."""

    def changes(self) -> list[frozenset[Place]]:
        """What it held, each time that the client said something about it; the last one is `assigned`."""

    def commit(self, positions: Mapping[Place, Position]) -> None:
        """Commit these by hand."""
        raise CannotDo("it has no call for that")

    def committed(self, place: Place) -> Position | None:
        """What the group has committed, as this member sees it."""
        raise CannotDo("it has no call for that")

    def seek(self, place: Place, offset: int) -> None:
        """Go on there; what it has read of this partition and was not taken is dropped."""
        raise CannotDo("it has no call for that")

    def pause(self, place: Place) -> None:
        """Read nothing more of this partition; what was read of it already may still be taken."""
        raise CannotDo("it has no call for that")

    def resume(self, place: Place) -> None:
        """Read on."""
        raise CannotDo("it has no call for that")

    def close(self) -> None:
        """Leave and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSeen:
    """A member, as a client describes it."""

    member_id: str
    client_id: str
    instance_id: str | None
    """None also where the client hides it."""
    assigned: frozenset[Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSeen:
    """A group, as a client describes it."""

    state: str
    """In lower case and without anything but letters, for every client spells it in its own way."""
    assignor: str
    members: tuple[MemberSeen, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """A topic to be made."""

    name: str
    partitions: int = 1
    replication_factor: int = 1
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSeen:
    """A topic, as a client describes it."""

    name: str
    leaders: Mapping[int, int]
    """The leader of each partition."""
    replicas: Mapping[int, tuple[int, ...]]
    topic_id: UUID | None = None
    """None: the client does not show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSeen:
    """A cluster, as a client describes it."""

    nodes: Mapping[int, str]
    """`host:port` by node id."""
    controller: int
    cluster_id: str | None
    """None: the client does not show it."""


class Resource(Enum):
    """What has configs. The values are Kafka's numbers."""

    TOPIC = 2
    BROKER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSeen:
    """One config, as a client describes it."""

    value: str | None
    source: int | None
    """Kafka's number: 1 dynamic topic, 2 dynamic broker, 4 static broker, 5 default. None: the client hides it."""
    is_read_only: bool
    is_sensitive: bool


@dataclass(frozen=True, slots=True)
class OffsetSeen:
    """An offset that was asked for."""

    offset: int
    timestamp_ms: int | None
    """None: the client does not show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """What is to become of the configs of one resource."""

    set_to: Mapping[str, str] = field(default_factory=dict)
    delete: Sequence[str] = ()
    append: Mapping[str, str] = field(default_factory=dict)
    subtract: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumSeen:
    """The quorum of the cluster's metadata."""

    leader: int
    voters: tuple[int, ...]
    high_watermark: int


def letters(text: str) -> str:
    """In lower case, and only the letters of it."""
    return "".join(filter(str.isalpha, text.lower()))


def _lacks(client: Client, verb: str) -> NoReturn:
    raise CannotDo(f"{client.name} has no {verb}")


class Client(Protocol):
    """One client, talking to one broker. A verb that is not overridden is a call that the client does not have."""

    name: ClassVar[str]
    version: ClassVar[str]
    cannot: ClassVar[Mapping[str, str]] = {}
    """Rows of the table that the client cannot do although it has the verb, and why."""
    commits_by_hand: ClassVar[bool] = True

    def close(self) -> None:
        """End whatever is open."""

    # -- records --

    def open_writer(self, how: Writing) -> Writer:
        """A producer."""
        _lacks(self, "producer")

    def open_reader(self, how: Reading) -> Reader:
        """A consumer without a group."""
        _lacks(self, "consumer without a group")

    def read_to_the_end(self, how: Reading) -> list[Read]:
        """All records up to where the client itself says of every partition that it has ended."""
        _lacks(self, "event for the end of a partition")

    # -- groups --

    def join_group(self, how: Joining) -> Member:
        """A member of a group of the classic protocol, which reads from then on."""
        _lacks(self, "consumer in a group")

    def join_consumer_group(self, how: Joining) -> Member:
        """A member of a group of the consumer protocol (KIP-848)."""
        _lacks(self, "consumer protocol")

    def list_groups(self) -> Mapping[str, str]:
        """The state of each group, spelled as in `GroupSeen`; empty where the client does not show it."""
        _lacks(self, "list of groups")

    def describe_group(self, group: str) -> GroupSeen:
        """A group of the classic protocol."""
        _lacks(self, "description of groups")

    def describe_consumer_group(self, group: str) -> GroupSeen:
        """A group of the consumer protocol (KIP-848)."""
        _lacks(self, "description of groups of the consumer protocol")

    def delete_group(self, group: str) -> None:
        """Delete it with its offsets."""
        _lacks(self, "call to delete groups")

    def list_group_offsets(self, group: str, topic: str) -> Mapping[int, Position]:
        """Those that the group has committed of a topic."""
        _lacks(self, "list of a group's offsets")

    def alter_group_offsets(self, group: str, positions: Mapping[Place, Position]) -> None:
        """Commit for a group that is asleep."""
        _lacks(self, "call to alter a group's offsets")

    def delete_group_offsets(self, group: str, place: Place) -> None:
        """Forget what the group has committed of a partition."""
        _lacks(self, "call to delete a group's offsets")

    def remove_member(self, group: str, member_id: str) -> None:
        """Put it out of the group."""
        _lacks(self, "call to remove members")

    # -- topics --

    def create_topic(self, topic: NewTopic) -> None:
        """Make it."""
        _lacks(self, "call to create topics")

    def validate_topic(self, topic: NewTopic) -> None:
        """Ask whether it could be made."""
        _lacks(self, "call to validate a new topic")

    def delete_topic(self, topic: str) -> None:
        """Delete it."""
        _lacks(self, "call to delete topics")

    def delete_topic_by_id(self, topic_id: UUID) -> None:
        """Delete the one that has this id."""
        _lacks(self, "call to delete topics by id")

    def create_partitions(self, topic: str, count: int) -> None:
        """Let it have so many partitions in all."""
        _lacks(self, "call to create partitions")

    def validate_partitions(self, topic: str, count: int) -> None:
        """Ask whether it could have so many."""
        _lacks(self, "call to validate new partitions")

    def list_topics(self) -> set[str]:
        """The names of all."""
        _lacks(self, "list of topics")

    def describe_topic(self, topic: str) -> TopicSeen:
        """One topic."""
        _lacks(self, "description of topics")

    def describe_topic_by_id(self, topic_id: UUID) -> TopicSeen:
        """The one that has this id."""
        _lacks(self, "description of topics by id")

    def describe_topic_partitions(self, topic: str) -> TopicSeen:
        """The same by DescribeTopicPartitions, page by page."""
        _lacks(self, "paged description of topics")

    # -- the cluster --

    def describe_cluster(self) -> ClusterSeen:
        """Who is there."""
        _lacks(self, "description of the cluster")

    def api_versions(self) -> Mapping[int, tuple[int, int]]:
        """The versions that the broker says it serves, by API key."""
        _lacks(self, "call that shows the broker's versions")

    def describe_features(self) -> Mapping[str, int]:
        """The finalized level of each feature."""
        _lacks(self, "description of features")

    def update_feature(self, feature: str, level: int) -> None:
        """Try to finalize a feature's level, for validation only."""
        _lacks(self, "update of features")

    def describe_quorum(self) -> QuorumSeen:
        """The quorum of the metadata."""
        _lacks(self, "description of the quorum")

    def describe_log_dirs(self, topic: str) -> Mapping[int, int]:
        """The size of each of the topic's partitions on the disk."""
        _lacks(self, "description of log directories")

    # -- configs --

    def describe_configs(self, resource: Resource, name: str) -> Mapping[str, ConfigSeen]:
        """All configs of a resource."""
        _lacks(self, "description of configs")

    def alter_configs(self, resource: Resource, name: str, configs: Mapping[str, str]) -> None:
        """Let the resource have these configs and no others (AlterConfigs)."""
        _lacks(self, "AlterConfigs")

    def change_configs(self, resource: Resource, name: str, change: ConfigChange) -> None:
        """Change some configs (IncrementalAlterConfigs)."""
        _lacks(self, "IncrementalAlterConfigs")

    def list_config_resources(self) -> Mapping[Resource, set[str]]:
        """The names of the resources that have configs."""
        _lacks(self, "list of config resources")

    # -- partitions --

    def find_offset(self, topic: str, partition: int, start: Start) -> OffsetSeen:
        """The offset at a start; -1 where there is none."""
        _lacks(self, "lookup of offsets")

    def elect_leader(self, topic: str, partition: int) -> None:
        """Elect the preferred leader."""
        _lacks(self, "election of leaders")

    def list_reassignments(self) -> Mapping[tuple[str, int], tuple[int, ...]]:
        """The replicas of each partition that is being moved."""
        _lacks(self, "list of reassignments")

    def reassign(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        """Move a partition."""
        _lacks(self, "reassignment of partitions")

    def cancel_reassignment(self, topic: str, partition: int) -> None:
        """Let a partition that is being moved stay."""
        _lacks(self, "way to cancel a reassignment")
