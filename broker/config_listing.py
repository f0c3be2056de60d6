"""What tools are told of settings: each with its value, where that is from, and every other place that has one.

A setting's places, the stronger first: the topic, this broker at run time, all brokers at run time, what the broker
was started with, the default. Kafka calls them synonyms; the first one holds.

Listed is what is true: settings that are built, and of those that are not the ones with a value that says what happens
anyway. A setting whose mechanism is not built and of which no value would be true (`sasl.*`, `transaction.*`) is not
listed at all: any value would claim that something reads it.

Read-only are a broker's settings that hold from its start to its end, and those that are not built. A topic's never
are, as in Kafka: tools drop a change of one that is, in silence, and whoever wants it shall hear why it cannot be had.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..storage.config import TOPIC_NOT_BUILT, TOPIC_SETTINGS, NotBuilt, Setting, ValueType
from .config import BROKER_SETTINGS, DYNAMIC, BrokerConfig, ConfigSource
from .group_config import GROUP_SETTINGS
from .group_overrides import OF_ONE_GROUP
from .kafka_settings import BROKER_NOT_BUILT

NOTHING: Mapping[str, str] = MappingProxyType({})
FIXED = "Fixed, for the topic is the broker's own."


@dataclass(frozen=True, slots=True)
class Synonym:
    """A place that has a value for a setting."""

    name: str
    """How the setting is called there."""
    value: str
    source: ConfigSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigEntry:
    """One setting, as tools see it."""

    name: str
    read_only: bool
    value_type: ValueType
    text: str
    synonyms: tuple[Synonym, ...]
    """Every place that has a value; the first one holds."""

    @property
    def value(self) -> str:
        """The value that holds."""
        return self.synonyms[0].value

    @property
    def source(self) -> ConfigSource:
        """Where the value that holds is from."""
        return self.synonyms[0].source


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Where the settings of a broker are said."""

    static: BrokerConfig
    """With what it was started."""
    all_brokers: Mapping[str, str]
    """At run time, for every broker that says nothing else."""
    this_broker: Mapping[str, str]
    """At run time, for this one."""


def topic_entries(layers: Layers, configs: Mapping[str, str], fixed: Mapping[str, str] = NOTHING) -> list[ConfigEntry]:
    """Every setting of a topic that says `configs` itself and has `fixed` for good, by name."""
    static = layers.static.log
    entries = [
        ConfigEntry(
            name=one.name,
            read_only=False,
            value_type=one.value_type,
            text=f"{FIXED} {one.text}" if one.name in fixed else one.text,
            synonyms=(
                *_own(one, {**configs, **fixed}, ConfigSource.DYNAMIC_TOPIC_CONFIG),
                *_places(one, one.broker_name, layers, getattr(static, attribute)),
            ),
        )
        for attribute, one in TOPIC_SETTINGS.items()
    ]
    unbuilt = _unbuilt(TOPIC_NOT_BUILT, configs, ConfigSource.DYNAMIC_TOPIC_CONFIG, read_only=False)
    entries += [_fixed(entry, fixed[entry.name]) if entry.name in fixed else entry for entry in unbuilt]
    return sorted(entries, key=lambda entry: entry.name)


def broker_entries(layers: Layers) -> list[ConfigEntry]:
    """Every setting of this broker, by name; those that have several names under each of them."""
    static = layers.static
    values = [(one, getattr(static, attribute)) for attribute, one in BROKER_SETTINGS.items()]
    values += [(one, getattr(static.groups, attribute)) for attribute, one in GROUP_SETTINGS.items()]
    values += [(one, getattr(static.log, attribute)) for attribute, one in TOPIC_SETTINGS.items()]
    entries = [
        ConfigEntry(
            name=name,
            read_only=name not in DYNAMIC,
            value_type=one.value_type,
            text=one.text,
            synonyms=tuple(_places(one, name, layers, value)),
        )
        for one, value in values
        for name in (one.broker_name, *one.aliases)
    ]
    given = {name: static.origin(name) for name in BROKER_NOT_BUILT if name in static.origins}
    entries += _unbuilt(BROKER_NOT_BUILT, given, ConfigSource.STATIC_BROKER_CONFIG, read_only=True)
    return sorted(entries, key=lambda entry: entry.name)


def group_entries(layers: Layers, configs: Mapping[str, str]) -> list[ConfigEntry]:
    """Every setting of a group that says `configs` itself, by name."""
    brokers = {one.name: getattr(layers.static.groups, attribute) for attribute, one in GROUP_SETTINGS.items()}
    return [
        ConfigEntry(
            name=one.name,
            read_only=False,
            value_type=one.value_type,
            text=one.text,
            synonyms=(
                *_own(one, configs, ConfigSource.GROUP_CONFIG),
                *_places(one, one.broker_name, layers, brokers[one.broker_name]),
            ),
        )
        for one in sorted(OF_ONE_GROUP.values(), key=lambda one: one.name)
    ]


def all_brokers_entries(layers: Layers) -> list[ConfigEntry]:
    """What was set at run time for all brokers: that alone is listed, as in Kafka."""
    source = ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG
    return [
        ConfigEntry(
            name=name,
            read_only=False,
            value_type=DYNAMIC[name].value_type,
            text=DYNAMIC[name].text,
            synonyms=(Synonym(name, DYNAMIC[name].show(raw), source),),
        )
        for name, raw in sorted(layers.all_brokers.items())
    ]


def _own(one: Setting, configs: Mapping[str, str], source: ConfigSource) -> Iterator[Synonym]:
    if one.name in configs:
        yield Synonym(one.name, one.show(configs[one.name]), source)


def _fixed(entry: ConfigEntry, value: str) -> ConfigEntry:
    """The entry of a setting that is not built, where the broker has fixed it for a topic of its own."""
    own = Synonym(entry.name, value, ConfigSource.DYNAMIC_TOPIC_CONFIG)
    default = replace(entry.synonyms[-1], source=ConfigSource.DEFAULT_CONFIG)
    mechanism = TOPIC_NOT_BUILT[entry.name].text
    text = f"{FIXED} {mechanism.capitalize()} is not built yet: nothing is removed."
    return replace(entry, synonyms=(own, default), text=text)


def _places(one: Setting, name: str, layers: Layers, static: object) -> Iterator[Synonym]:
    """The places of a broker's setting, called `name` there; `static` is its value at start."""
    for overrides, source in (
        (layers.this_broker, ConfigSource.DYNAMIC_BROKER_CONFIG),
        (layers.all_brokers, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG),
    ):
        if name in overrides:
            yield Synonym(name, one.show(overrides[name]), source)
    if one.broker_name in layers.static.origins:
        yield Synonym(name, one.kind.show(static), ConfigSource.STATIC_BROKER_CONFIG)
    yield Synonym(name, one.kind.show(one.default), ConfigSource.DEFAULT_CONFIG)


def _unbuilt(
    table: Mapping[str, NotBuilt], given: Iterable[str], source: ConfigSource, *, read_only: bool
) -> Iterator[ConfigEntry]:
    """What happens anyway; where somebody asked for just that, it is from there."""
    given = frozenset(given)
    for name, one in table.items():
        if one.accepted is None:
            continue
        default = Synonym(name, one.accepted, ConfigSource.DEFAULT_CONFIG)
        yield ConfigEntry(
            name=name,
            read_only=read_only,
            value_type=one.value_type,
            text=one.why,
            synonyms=(Synonym(name, one.accepted, source), default) if name in given else (default,),
        )
