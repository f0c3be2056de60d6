"""What single groups say themselves (KIP-848), and with it the values that hold for each of them.

A group may be given settings before it exists, and keeps them when it is deleted, as in Kafka.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..storage.config import INT_MAX, NotBuilt, Setting, ValueType, at_least, setting, settings_of, unknown
from .coordinator.group_settings import MigrationPolicy
from .group_config import GroupConfig, Related, Relation, check_relations


@dataclass(frozen=True, slots=True, kw_only=True)
class OneGroupConfig:
    """The settings that a single group can have, and the broker's that they stand over."""

    consumer_session_timeout_ms: int = setting(
        "consumer.session.timeout.ms",
        45_000,
        "A member that is silent for this long is taken for dead; for groups of the consumer protocol.",
        at_least(1, INT_MAX),
        broker_name="group.consumer.session.timeout.ms",
    )
    consumer_heartbeat_interval_ms: int = setting(
        "consumer.heartbeat.interval.ms",
        5000,
        "How often members are told to send a heartbeat; for groups of the consumer protocol.",
        at_least(1, INT_MAX),
        broker_name="group.consumer.heartbeat.interval.ms",
    )


OF_ONE_GROUP: Mapping[str, Setting] = settings_of(OneGroupConfig)
"""By attribute of OneGroupConfig."""
_BY_NAME: Mapping[str, Setting] = {one.name: one for one in OF_ONE_GROUP.values()}

GROUP_NOT_BUILT: Mapping[str, NotBuilt] = {
    name: NotBuilt(mechanism)
    for mechanism, names in {
        "queues": """
            share.auto.offset.reset share.delivery.count.limit share.heartbeat.interval.ms share.isolation.level
            share.partition.max.record.locks share.record.lock.duration.ms share.renew.acknowledge.enable
            share.session.timeout.ms
        """,
        "a protocol for streams": """
            streams.heartbeat.interval.ms streams.initial.rebalance.delay.ms streams.num.standby.replicas
            streams.session.timeout.ms
        """,
    }.items()
    for name in names.split()
}
"""Settings of groups that are known and refused."""

_SESSION, _HEARTBEAT = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"
_RELATIONS: Sequence[Related] = (
    (_HEARTBEAT, Relation.AT_LEAST, "group.consumer.min.heartbeat.interval.ms"),
    (_HEARTBEAT, Relation.AT_MOST, "group.consumer.max.heartbeat.interval.ms"),
    (_SESSION, Relation.AT_LEAST, "group.consumer.min.session.timeout.ms"),
    (_SESSION, Relation.AT_MOST, "group.consumer.max.session.timeout.ms"),
    (_SESSION, Relation.ABOVE, _HEARTBEAT),
)


def checked(configs: Mapping[str, str], broker: GroupConfig) -> dict[str, str]:
    """What a group may say, in Kafka's spelling. Raises ConfigError in Kafka's words."""
    for name, raw in configs.items():
        if name in GROUP_NOT_BUILT:
            GROUP_NOT_BUILT[name].check(name, raw)
        if name not in _BY_NAME:
            raise unknown("group", name, (*_BY_NAME, *GROUP_NOT_BUILT))
    values = broker.numbers()
    for one in OF_ONE_GROUP.values():
        given = one.parse(configs[one.name]) if one.name in configs else values[one.broker_name]
        assert isinstance(given, int), "every setting of a group is a number"
        values[one.name] = given
    if configs:
        # Who says nothing is right whatever the broker says; and a group shall get rid of what it says at any time.
        check_relations(values, _RELATIONS)
    return {name: str(values[name]) for name in configs}


def value_type(name: str) -> ValueType | None:
    """What a value of this setting is; None if there is no such setting."""
    one = _BY_NAME.get(name)
    return None if one is None else one.value_type


class GroupOverrides:
    """What groups say themselves, over what the broker says. See `coordinator.group_settings.GroupSettings`."""

    def __init__(self, broker: Callable[[], GroupConfig]) -> None:
        """`broker` is asked for the broker's settings as of now."""
        self._broker = broker
        self._said: dict[str, Mapping[str, str]] = {}
        self._values: dict[str, Mapping[str, int]] = {}

    # What groups say

    def names(self) -> Iterable[str]:
        """The groups that say something."""
        return self._said.keys()

    def of(self, group_id: str) -> Mapping[str, str]:
        """What a group says itself."""
        return self._said.get(group_id, {})

    def set(self, group_id: str, configs: Mapping[str, str]) -> None:
        """From here on a group says this, and nothing else. Raises ConfigError for what cannot be read."""
        values: dict[str, int] = {}
        for name, raw in configs.items():
            one = _BY_NAME.get(name)
            if one is None:
                raise unknown("group", name, _BY_NAME)
            value = one.parse(raw)
            assert isinstance(value, int), "every setting of a group is a number"
            values[name] = value
        self._said.pop(group_id, None)
        self._values.pop(group_id, None)
        if configs:
            self._said[group_id] = configs
            self._values[group_id] = values

    # What holds

    def consumer_session_timeout_ms(self, group_id: str) -> int:
        """The group's own, within the bounds that the broker has by now; else the broker's."""
        broker = self._broker()
        said = self._values.get(group_id, {}).get(_SESSION, broker.consumer_session_timeout_ms)
        return min(max(said, broker.consumer_min_session_timeout_ms), broker.consumer_max_session_timeout_ms)

    def consumer_heartbeat_interval_ms(self, group_id: str) -> int:
        """The group's own, within the bounds that the broker has by now; else the broker's."""
        broker = self._broker()
        said = self._values.get(group_id, {}).get(_HEARTBEAT, broker.consumer_heartbeat_interval_ms)
        return min(max(said, broker.consumer_min_heartbeat_interval_ms), broker.consumer_max_heartbeat_interval_ms)

    @property
    def memory_max_bytes(self) -> int:
        """See `GroupSettings`."""
        return self._broker().memory_max_bytes

    @property
    def classic_session_timeout_min_ms(self) -> int:
        """See `GroupSettings`."""
        return self._broker().min_session_timeout_ms

    @property
    def classic_session_timeout_max_ms(self) -> int:
        """See `GroupSettings`."""
        return self._broker().max_session_timeout_ms

    @property
    def initial_rebalance_delay_ms(self) -> int:
        """See `GroupSettings`."""
        return self._broker().initial_rebalance_delay_ms

    @property
    def classic_max_size(self) -> int:
        """See `GroupSettings`."""
        return self._broker().max_size

    @property
    def consumer_max_size(self) -> int:
        """See `GroupSettings`."""
        return self._broker().consumer_max_size

    @property
    def consumer_assignors(self) -> tuple[str, ...]:
        """See `GroupSettings`."""
        return self._broker().consumer_assignors

    @property
    def migration_policy(self) -> MigrationPolicy:
        """See `GroupSettings`."""
        return MigrationPolicy(self._broker().consumer_migration_policy)

    @property
    def offset_metadata_max_bytes(self) -> int:
        """See `GroupSettings`."""
        return self._broker().offset_metadata_max_bytes

    @property
    def offsets_retention_ms(self) -> int:
        """See `GroupSettings`."""
        return self._broker().offsets_retention_minutes * 60_000

    @property
    def offsets_retention_check_interval_ms(self) -> int:
        """See `GroupSettings`."""
        return self._broker().offsets_retention_check_interval_ms

    @property
    def offsets_topic_num_partitions(self) -> int:
        """See `GroupSettings`."""
        return self._broker().offsets_topic_num_partitions

    @property
    def offsets_topic_segment_bytes(self) -> int:
        """See `GroupSettings`."""
        return self._broker().offsets_topic_segment_bytes
