"""The broker's settings of groups and their offsets, under Kafka's names; a part of `BrokerConfig`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ..storage.config import (
    INT_MAX,
    ConfigError,
    Kind,
    Setting,
    ValueType,
    at_least,
    one_of,
    parse_text,
    setting,
    settings_of,
)
from .coordinator.group_settings import MigrationPolicy

ASSIGNORS = ("uniform", "range")
"""Those that are built; also the default."""
OFFSETS_PARTITIONS_MAX = 1000
METADATA_BYTES_MAX = 32_767
"""The records of committed offsets have no room for a longer text."""


def parse_assignors(raw: object) -> tuple[str, ...]:
    """Names, several in a list or between commas."""
    texts = raw if isinstance(raw, list | tuple) else parse_text(raw).split(",")
    names = tuple(parse_text(text) for text in texts)
    if not any(names):
        raise ValueError("Expected at least one assignor")
    for name in names:
        if name not in ASSIGNORS:
            raise ValueError(f"Expected assignors among {', '.join(ASSIGNORS)}, not {name!r}")
    if len(set(names)) < len(names):
        raise ValueError("An assignor is named twice")
    return names


def parse_policy(raw: object) -> str:
    """One word, in any case."""
    return parse_text(raw).lower()


def _show_names(value: object) -> str:
    assert isinstance(value, tuple)
    return ",".join(map(str, value))


ASSIGNOR_LIST = Kind(
    title=f"list of {' and '.join(ASSIGNORS)}", parse=parse_assignors, show=_show_names, value_type=ValueType.LIST
)
POLICY = Kind(title="text", parse=parse_policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """What holds for groups that say nothing else. As in Kafka, none of it can be changed while the broker runs."""

    min_session_timeout_ms: int = setting(
        "group.min.session.timeout.ms",
        6000,
        "The shortest session timeout that a member of a classic group may ask for.",
        at_least(1, INT_MAX),
    )
    max_session_timeout_ms: int = setting(
        "group.max.session.timeout.ms",
        1_800_000,
        "The longest session timeout that a member of a classic group may ask for.",
        at_least(1, INT_MAX),
    )
    initial_rebalance_delay_ms: int = setting(
        "group.initial.rebalance.delay.ms",
        0,
        "How long the first rebalance of an empty classic group waits for more members. Kafka's default is 3000: fewer "
        "rebalances when many members start at once, and three seconds of nothing when one does.",
        at_least(0, INT_MAX),
    )
    max_size: int = setting(
        "group.max.size",
        INT_MAX,
        "The most members that a classic group may have.",
        at_least(1, INT_MAX),
    )
    consumer_session_timeout_ms: int = setting(
        "group.consumer.session.timeout.ms",
        45_000,
        "A member of a group of the consumer protocol (KIP-848) that is silent for this long is taken for dead. A "
        "group may say otherwise (`consumer.session.timeout.ms`).",
        at_least(1, INT_MAX),
    )
    consumer_min_session_timeout_ms: int = setting(
        "group.consumer.min.session.timeout.ms",
        45_000,
        "The shortest session timeout that may be set for a group of the consumer protocol.",
        at_least(1, INT_MAX),
    )
    consumer_max_session_timeout_ms: int = setting(
        "group.consumer.max.session.timeout.ms",
        60_000,
        "The longest session timeout that may be set for a group of the consumer protocol.",
        at_least(1, INT_MAX),
    )
    consumer_heartbeat_interval_ms: int = setting(
        "group.consumer.heartbeat.interval.ms",
        5000,
        "How often members of a group of the consumer protocol are told to send a heartbeat. A group may say otherwise "
        "(`consumer.heartbeat.interval.ms`).",
        at_least(1, INT_MAX),
    )
    consumer_min_heartbeat_interval_ms: int = setting(
        "group.consumer.min.heartbeat.interval.ms",
        5000,
        "The shortest heartbeat interval that may be set for a group of the consumer protocol.",
        at_least(1, INT_MAX),
    )
    consumer_max_heartbeat_interval_ms: int = setting(
        "group.consumer.max.heartbeat.interval.ms",
        15_000,
        "The longest heartbeat interval that may be set for a group of the consumer protocol.",
        at_least(1, INT_MAX),
    )
    consumer_max_size: int = setting(
        "group.consumer.max.size",
        INT_MAX,
        "The most members that a group of the consumer protocol may have.",
        at_least(1, INT_MAX),
    )
    consumer_assignors: tuple[str, ...] = setting(
        "group.consumer.assignors",
        ASSIGNORS,
        "Assignors that members of groups of the consumer protocol may choose; the first is for those who choose none.",
        kind=ASSIGNOR_LIST,
    )
    consumer_migration_policy: str = setting(
        "group.consumer.migration.policy",
        MigrationPolicy.BIDIRECTIONAL.value,
        "Which way a group may change its protocol while it has members: from classic to consumer (`upgrade`), back "
        "(`downgrade`), both or none. Empty groups always may.",
        one_of(*(policy.value for policy in MigrationPolicy)),
        kind=POLICY,
    )
    memory_max_bytes: int = setting(
        "group.memory.max.bytes",
        536_870_912,
        "Memory for groups, their members and their committed offsets, about; -1 for no limit. When three quarters of "
        "it are used up, no new group and no new member is let in; when all of it is, offsets are only committed where "
        "some were before. Clients are told to try again.",
        at_least(-1),
    )
    offset_metadata_max_bytes: int = setting(
        "offset.metadata.max.bytes",
        4096,
        "The longest text that may be committed beside an offset.",
        at_least(0, METADATA_BYTES_MAX),
    )
    offsets_retention_minutes: int = setting(
        "offsets.retention.minutes",
        10_080,
        "How long committed offsets are kept after a group has lost its last member, or no longer reads the topic; "
        "without members at all, after the commit.",
        at_least(1, INT_MAX),
    )
    offsets_retention_check_interval_ms: int = setting(
        "offsets.retention.check.interval.ms",
        600_000,
        "How often committed offsets are looked through for such.",
        at_least(1),
    )
    offsets_topic_num_partitions: int = setting(
        "offsets.topic.num.partitions",
        4,
        "Partitions of `__consumer_offsets`, when it is created; later they stay as many. Kafka's default is 50, which "
        "spreads groups over the nodes of a cluster.",
        at_least(1, OFFSETS_PARTITIONS_MAX),
    )
    offsets_topic_segment_bytes: int = setting(
        "offsets.topic.segment.bytes",
        104_857_600,
        "`segment.bytes` of `__consumer_offsets`, when it is created.",
        at_least(1024, INT_MAX),
    )

    def check(self) -> None:
        """Whether the values go together. Raises ConfigError in Kafka's words."""
        check_relations(self.numbers(), RELATIONS)

    def numbers(self) -> dict[str, int]:
        """The values that are numbers, by the settings' names."""
        values = {one.name: getattr(self, attribute) for attribute, one in GROUP_SETTINGS.items()}
        return {name: value for name, value in values.items() if isinstance(value, int)}


GROUP_SETTINGS: Mapping[str, Setting] = settings_of(GroupConfig)
"""By attribute of GroupConfig."""


class Relation(Enum):
    """How two values must stand to each other, in Kafka's words."""

    AT_LEAST = "greater than or equal to"
    AT_MOST = "less than or equal to"
    ABOVE = "greater than"
    BELOW = "less than"

    def holds(self, one: int, other: int) -> bool:
        """Whether the first value stands so to the second one."""
        match self:
            case Relation.AT_LEAST:
                return one >= other
            case Relation.AT_MOST:
                return one <= other
            case Relation.ABOVE:
                return one > other
            case Relation.BELOW:
                return one < other


Related = tuple[str, Relation, str]

RELATIONS: Sequence[Related] = (
    ("group.max.session.timeout.ms", Relation.AT_LEAST, "group.min.session.timeout.ms"),
    ("group.consumer.max.heartbeat.interval.ms", Relation.AT_LEAST, "group.consumer.min.heartbeat.interval.ms"),
    ("group.consumer.heartbeat.interval.ms", Relation.AT_LEAST, "group.consumer.min.heartbeat.interval.ms"),
    ("group.consumer.heartbeat.interval.ms", Relation.AT_MOST, "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.max.session.timeout.ms", Relation.AT_LEAST, "group.consumer.min.session.timeout.ms"),
    ("group.consumer.session.timeout.ms", Relation.AT_LEAST, "group.consumer.min.session.timeout.ms"),
    ("group.consumer.session.timeout.ms", Relation.AT_MOST, "group.consumer.max.session.timeout.ms"),
    ("group.consumer.heartbeat.interval.ms", Relation.BELOW, "group.consumer.session.timeout.ms"),
)


def check_relations(values: Mapping[str, int], relations: Sequence[Related]) -> None:
    """Whether values, by name, go together. Raises ConfigError in Kafka's words for the first that do not."""
    for name, relation, other in relations:
        if not relation.holds(values[name], values[other]):
            raise ConfigError(f"{name} must be {relation.value} {other}")
