"""DynamicConfigs: what was set at run time, of brokers and groups here, of topics in each; and what holds by it.

A change is a fact: the complete settings that a resource has from then on. It is decided, made durable, and only then
applied and answered. Changes are made one request at a time, so that each begins from what the one before it left, and
of each resource all are made or none. A topic's settings die with the topic. `current` is the broker's configuration
as of now: who needs a setting that can change asks for it at use, or is told by `on_change`.

Levels of loggers are no facts: they are changed at once and forgotten at the end, as in Kafka (KIP-412).
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ..protocol.errors import ErrorCode, RequestRefused
from ..storage.config import TOPIC_ATTRIBUTES, TOPIC_NOT_BUILT, TOPIC_SETTINGS, ConfigError, ValueType, spelled, unknown
from .config import DYNAMIC, KEYS, BrokerConfig
from .config_listing import ConfigEntry, Layers, all_brokers_entries, broker_entries, group_entries, topic_entries
from .group_overrides import GroupOverrides, checked, value_type
from .kafka_settings import BROKER_NOT_BUILT
from .log_levels import check_level, set_level
from .metadata.records import ConfigsChanged, Fact, ResourceType
from .metadata.store import MetadataStore
from .topics.internal_topics import fixed_settings
from .topics.registry import Topic, Topics, check_legal_name

logger = logging.getLogger(__name__)

ALL_BROKERS = ""
"""The name of the resource whose settings hold for every broker that says nothing else."""


class Operation(IntEnum):
    """What is done to one setting, in Kafka's numbers."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


@dataclass(frozen=True, slots=True)
class Resource:
    """What has settings."""

    kind: int
    """A ResourceType, or whatever else a client may ask for."""
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One setting's."""

    name: str
    operation: int
    """An Operation, or whatever else a client may ask for."""
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """What a request wants of one resource."""

    resource: Resource
    changes: Sequence[Change]
    replaces: bool = False
    """What is not set goes back to its default."""


Outcomes = Sequence[Exception | None]
"""Of each alteration, in order: why it was not made, or None."""


@dataclass(frozen=True, slots=True)
class _Request:
    alterations: Sequence[Alteration]
    validate_only: bool
    waiter: Callable[[Outcomes], None]


@dataclass(frozen=True, slots=True)
class _Decided:
    """One alteration that can be made."""

    position: int
    fact: ConfigsChanged
    topic: Topic | None
    """Which one is meant; its name may be another's by the time the fact is durable."""


class DynamicConfigs:
    """The owner of what was set at run time."""

    def __init__(self, static: BrokerConfig, *, store: MetadataStore, topics: Topics) -> None:
        self.current = static
        """What holds now."""
        self._static = static
        self._store = store
        self._topics = topics
        self._brokers: dict[str, Mapping[str, str]] = {}
        """By node id as text; of other nodes too, whose facts are only kept."""
        self.groups = GroupOverrides(lambda: self.current.groups)
        """What single groups say, and with it the settings of groups as of now."""
        self._listeners: list[Callable[[BrokerConfig], None]] = []
        self._waiting: deque[_Request] = deque()
        self._is_deciding = self._is_writing = False

    def load(self, facts: Iterable[Fact]) -> None:
        """Take up what was set before this start; before the topics are opened. Raises ConfigError."""
        of_groups: dict[str, Mapping[str, str]] = {}
        for fact in facts:
            if isinstance(fact, ConfigsChanged) and fact.resource_type == ResourceType.BROKER:
                self._brokers[fact.resource_name] = fact.configs
            elif isinstance(fact, ConfigsChanged) and fact.resource_type == ResourceType.GROUP:
                of_groups[fact.resource_name] = fact.configs
        for name in (ALL_BROKERS, self._node_name):
            try:
                _checked_dynamic(self._brokers.get(name, {}))
            except ConfigError as error:
                # To leave it out would be to guess what it meant; a version that knows it can take it back.
                raise ConfigError(f"what was set at run time for broker={name or 'all'} cannot hold: {error}") from None
        for group_id, configs in of_groups.items():
            try:
                self.groups.set(group_id, configs)
            except ConfigError as error:
                raise ConfigError(f"what was set at run time for group={group_id} cannot hold: {error}") from None
        self._refresh()

    def on_change(self, listener: Callable[[BrokerConfig], None]) -> None:
        """Tell this one of every change of `current`."""
        self._listeners.append(listener)

    # Listing

    def topic_entries(self, configs: Mapping[str, str], *, name: str = "") -> list[ConfigEntry]:
        """Every setting of a topic that says `configs` itself; its name matters if it is one of the broker's own."""
        return topic_entries(self._layers, configs, fixed_settings(name))

    def group_entries(self, group_id: str) -> list[ConfigEntry]:
        """Every setting of a group, which need not exist."""
        return group_entries(self._layers, self.groups.of(group_id))

    def broker_entries(self) -> list[ConfigEntry]:
        """Every setting of this broker."""
        return broker_entries(self._layers)

    def all_brokers_entries(self) -> list[ConfigEntry]:
        """What was set at run time for all brokers."""
        return all_brokers_entries(self._layers)

    @property
    def _layers(self) -> Layers:
        return Layers(
            static=self._static,
            all_brokers=self._brokers.get(ALL_BROKERS, {}),
            this_broker=self._brokers.get(self._node_name, {}),
        )

    # Changing

    def alter(
        self, alterations: Sequence[Alteration], *, validate_only: bool, waiter: Callable[[Outcomes], None]
    ) -> None:
        """Make each alteration that can be made, or only say which can; `waiter` hears when they are durable."""
        self._waiting.append(_Request(alterations, validate_only, waiter))
        self._go_on()

    def _go_on(self) -> None:
        if self._is_deciding:
            return  # called back from below: the loop there goes on
        self._is_deciding = True
        try:
            while self._waiting and not self._is_writing:
                self._make(self._waiting.popleft())
        finally:
            self._is_deciding = False

    def _make(self, request: _Request) -> None:
        outcomes: list[Exception | None] = [None] * len(request.alterations)
        decided: list[_Decided] = []
        brokers = dict(self._brokers)
        """As they will be when all that is decided so far holds."""
        counts = Counter(alteration.resource for alteration in request.alterations)
        for position, alteration in enumerate(request.alterations):
            try:
                if counts[alteration.resource] > 1:
                    raise _bad_request("Each resource must appear at most once.")
                decision = self._decide(position, alteration, brokers, validate_only=request.validate_only)
            except RequestRefused as error:
                outcomes[position] = error
            else:
                decided += [decision] if decision is not None else []
        if request.validate_only or not decided:
            request.waiter(outcomes)
            return

        def durable(error: Exception | None) -> None:
            self._is_writing = False
            for one in decided:
                outcomes[one.position] = error or self._apply(one)
            request.waiter(outcomes)
            self._go_on()

        self._is_writing = True
        self._store.append([one.fact for one in decided], durable)

    def _decide(
        self, position: int, alteration: Alteration, brokers: dict[str, Mapping[str, str]], *, validate_only: bool
    ) -> _Decided | None:
        """What is to be written for an alteration; None for nothing. Raises RequestRefused in Kafka's words."""
        resource, changes = alteration.resource, alteration.changes
        if len({change.name for change in changes}) < len(changes):
            raise _bad_request("Error due to duplicate config keys")
        nulls = [change.name for change in changes if change.value is None and change.operation != Operation.DELETE]
        if nulls:
            raise _bad_request(f"Null value not supported for : {', '.join(nulls)}")
        topic: Topic | None = None
        old: Mapping[str, str]
        match resource.kind:
            case ResourceType.TOPIC:
                if not resource.name:
                    raise _bad_request("Default topic resources are not allowed.")
                check_legal_name(resource.name)
                topic = self._topics.by_name(resource.name)
                if topic is None:
                    raise unknown_topic(resource.name)
                old = topic.configs
                new = self._decide_topic(topic, alteration)
            case ResourceType.BROKER:
                self._check_broker_name(resource.name)
                old = brokers.get(resource.name, {})
                new = self._decide_broker(brokers, alteration)
                brokers[resource.name] = new
            case ResourceType.BROKER_LOGGER if not alteration.replaces:
                self._alter_levels(resource.name, changes, validate_only=validate_only)
                return None
            case ResourceType.GROUP:
                if not resource.name:
                    raise _bad_request("Default group resources are not allowed.")
                old = self.groups.of(resource.name)
                new = self._decide_group(old, alteration)
            case ResourceType.CLIENT_METRICS:
                raise unsupported(resource.kind)
            case _:
                raise _bad_request(f"Unknown resource type {resource.kind}")
        if new == old:
            return None
        fact = ConfigsChanged(resource_type=resource.kind, resource_name=resource.name, configs=new)
        return _Decided(position, fact, topic)

    def _decide_topic(self, topic: Topic, alteration: Alteration) -> dict[str, str]:
        def list_of(change: Change) -> str:
            _check_list(change, _topic_type(change.name))
            entries = self.topic_entries(topic.configs, name=topic.name)
            return {entry.name: entry.value for entry in entries}.get(change.name, "")

        fixed = fixed_settings(topic.name)
        old = {name: value for name, value in topic.configs.items() if name not in fixed}
        new = _altered(old, alteration, list_of)
        try:
            for name, value in fixed.items():
                given = new.pop(name, value)
                if name in TOPIC_ATTRIBUTES:
                    given = TOPIC_SETTINGS[TOPIC_ATTRIBUTES[name]].show(given)
                if given != value:
                    raise _bad_config(f"{name} is {value} for good: Topic '{topic.name}' is internal")
            return spelled(new)
        except ConfigError as error:
            raise _bad_config(str(error)) from None

    def _decide_group(self, old: Mapping[str, str], alteration: Alteration) -> dict[str, str]:
        def list_of(change: Change) -> str:
            _check_list(change, value_type(change.name))
            raise AssertionError("no setting of a group is a list")

        try:
            return checked(_altered(old, alteration, list_of), self.current.groups)
        except ConfigError as error:
            raise _bad_config(str(error)) from None

    def _decide_broker(self, brokers: Mapping[str, Mapping[str, str]], alteration: Alteration) -> dict[str, str]:
        def list_of(change: Change) -> str:
            one = DYNAMIC.get(change.name)
            if one is None or one.value_type is not ValueType.LIST:
                verb = Operation(change.operation).name.lower()
                raise _bad_config(f"Config value {verb} is not allowed for config key: {change.name}")
            return one.show(one.default)

        name = alteration.resource.name
        new = _altered(brokers.get(name, {}), alteration, list_of)
        strange = sorted(new.keys() - KEYS.keys() - BROKER_NOT_BUILT.keys() - DYNAMIC.keys())
        if strange:
            # Kafka keeps such for its plug-ins; here nothing would ever read them.
            raise _bad_config(str(unknown("broker", strange[0], DYNAMIC)))
        try:
            new = _checked_dynamic(new)
            self._config_of({**brokers, name: new})  # what is good for itself need not go with the rest
            return new
        except ConfigError as error:
            # KAFKA-13609: of brokers' settings Kafka answers INVALID_REQUEST, where of topics' it is INVALID_CONFIG.
            raise _bad_request(str(error)) from None

    def _check_broker_name(self, name: str) -> None:
        if name in (ALL_BROKERS, self._node_name):
            return
        if not name.removeprefix("-").isdecimal():
            raise _bad_request(f"Node id must be an integer, but it is: {name}")
        raise _bad_request(f"Unexpected broker id, expected {self._node_name}, but received {name}")

    def _alter_levels(self, node: str, changes: Sequence[Change], *, validate_only: bool) -> None:
        if not node.removeprefix("-").isdecimal():
            raise _bad_request(f"Node id must be an integer, but it is: {node}")
        if node != self._node_name:
            raise _bad_request(f"Unexpected node id. Expected {self._node_name}, but received {node}")
        for change in changes:
            operation = _operation(change)
            if operation in (Operation.APPEND, Operation.SUBTRACT):
                raise _bad_request(f"{operation.name} operation is not allowed for the BROKER_LOGGER resource")
            check_level(change.name, None if operation is Operation.DELETE else change.value)
        if validate_only:
            return
        for change in changes:
            level = None if change.operation == Operation.DELETE else change.value
            set_level(change.name, level)
            logger.info("log level changed logger=%s level=%s", change.name, level)

    def _apply(self, decided: _Decided) -> Exception | None:
        """The fact is durable: let it hold."""
        fact, topic = decided.fact, decided.topic
        if fact.resource_type == ResourceType.GROUP:
            self.groups.set(fact.resource_name, fact.configs)
        elif topic is None:
            self._brokers[fact.resource_name] = fact.configs
            self._refresh()
        elif self._topics.by_id(topic.topic_id) is None:
            return unknown_topic(topic.name)
        else:
            self._topics.configure(topic, fact.configs)
        kind = ResourceType(fact.resource_type).name.lower()
        logger.info("settings changed %s=%s settings=%s", kind, fact.resource_name or "all", fact.configs)
        return None

    def _refresh(self) -> None:
        current = self._config_of(self._brokers)
        if current == self.current:
            return
        self.current = current
        self._topics.set_defaults(current.log)
        for listener in self._listeners:
            listener(current)

    def _config_of(self, brokers: Mapping[str, Mapping[str, str]]) -> BrokerConfig:
        """What holds here when this is set at run time. Raises ConfigError."""
        return self._static.with_overrides(brokers.get(ALL_BROKERS, {}), brokers.get(self._node_name, {}))

    @property
    def _node_name(self) -> str:
        return str(self._static.node_id)


def unknown_topic(name: str) -> RequestRefused:
    """Whose settings shall be listed or changed, and is not there."""
    return RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")


def unsupported(kind: int) -> RequestRefused:
    """What Kafka has settings of, and nothing here would obey. To accept them would be to lie."""
    return _bad_request(f"Unsupported resource type: {ResourceType(kind).name}: metrics of clients are not built yet")


def _bad_request(message: str) -> RequestRefused:
    return RequestRefused(ErrorCode.INVALID_REQUEST, message)


def _bad_config(message: str) -> RequestRefused:
    return RequestRefused(ErrorCode.INVALID_CONFIG, message)


def _operation(change: Change) -> Operation:
    try:
        return Operation(change.operation)
    except ValueError:
        raise _bad_request(f"Unknown operations type {change.operation}") from None


def _altered(old: Mapping[str, str], alteration: Alteration, list_of: Callable[[Change], str]) -> dict[str, str]:
    """The settings after an alteration. `list_of` is the list that a change adds to where none was set, or refuses."""
    new = {} if alteration.replaces else dict(old)
    for change in alteration.changes:
        operation, value = _operation(change), change.value
        if operation is Operation.DELETE:
            new.pop(change.name, None)
            continue
        assert value is not None, "only what is deleted has no value"
        if operation is Operation.SET:
            new[change.name] = value
            continue
        base = list_of(change)
        parts = [part for part in new.get(change.name, base).split(",") if part]
        given = value.split(",")
        if operation is Operation.APPEND:
            parts += [part for part in dict.fromkeys(given) if part not in parts]
        else:
            parts = [part for part in parts if part not in given]
        new[change.name] = ",".join(parts)
    return new


def _check_list(change: Change, found: ValueType | None) -> None:
    """Only to a list can something be added. Raises RequestRefused in Kafka's words."""
    if found is not ValueType.LIST:
        verb = Operation(change.operation).name
        raise _bad_config(f"Can't {verb} to key {change.name} because its type is not LIST.")


def _topic_type(name: str) -> ValueType | None:
    attribute = TOPIC_ATTRIBUTES.get(name)
    if attribute is not None:
        return TOPIC_SETTINGS[attribute].value_type
    unbuilt = TOPIC_NOT_BUILT.get(name)
    return None if unbuilt is None else unbuilt.value_type


def _checked_dynamic(configs: Mapping[str, str]) -> dict[str, str]:
    """What a broker may have at run time, in Kafka's spelling. Raises ConfigError in Kafka's words."""
    fixed = sorted(configs.keys() - DYNAMIC.keys())
    if fixed:
        raise ConfigError(f"Cannot update these configs dynamically: Set({', '.join(fixed)})")
    return {name: DYNAMIC[name].show(raw, name=name) for name, raw in configs.items()}
