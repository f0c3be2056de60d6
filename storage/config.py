"""Settings: how one is declared, read and refused; and `LogConfig`, the settings of one topic's logs.

A setting is one dataclass field made by `setting(...)`: name, default, prose, limit. Parsing, validation, the listing
for clients and the reference page are derived from it, so they cannot disagree with each other.

Rule: a name that Kafka has and whose mechanism is not built yet is refused, never accepted and ignored. The one value
that describes what the broker does anyway (`retention.ms=-1` while nothing is ever deleted) is accepted, so that tools
which send the whole list of settings still work.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import ClassVar, Protocol, TypeVar

INT_MAX = (1 << 31) - 1
LONG_MAX = (1 << 63) - 1
"""Kafka's way to say "never" or "no limit"."""

WRITE_CACHING_FLUSH_MS = 1000
"""How old an acknowledged byte may get in the page cache under `write.caching`, when `flush.ms` does not say."""

_SETTING = "setting"
_SIZE_UNITS = {
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
}
_DURATION_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_NUMBER = re.compile(r"([+-]?\d+)(?:\.(\d+))?\s*([a-z]*)", re.ASCII | re.IGNORECASE)

T = TypeVar("T")
ConfigT = TypeVar("ConfigT")


class ConfigError(Exception):
    """A setting that is unknown, malformed, out of range or not built yet."""


class Limit(Protocol):
    """What values a setting accepts, beyond their type. `str()` of it goes into the reference."""

    def refusal(self, value: object) -> str | None:
        """Why the value is not acceptable; None when it is."""


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers between two bounds, both included."""

    least: int
    most: int

    def refusal(self, value: object) -> str | None:
        """Kafka's words, which some tools match."""
        assert isinstance(value, int)
        if value < self.least:
            return f"Value must be at least {self.least}"
        if value > self.most:
            return f"Value must be no more than {self.most}"
        return None

    def __str__(self) -> str:
        return f"at least {self.least}" if self.most == LONG_MAX else f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One word of several."""

    choices: tuple[str, ...]

    def refusal(self, value: object) -> str | None:
        """Kafka's words, which some tools match."""
        return None if value in self.choices else f"String must be one of: {', '.join(self.choices)}"

    def __str__(self) -> str:
        return " or ".join(f"`{choice}`" for choice in self.choices)


@dataclass(frozen=True, slots=True)
class GzipLevel:
    """A level of gzip: 1 to 9, or -1 for its default."""

    most: ClassVar[int] = 9

    def refusal(self, value: object) -> str | None:
        """Kafka's words."""
        if isinstance(value, int) and (1 <= value <= self.most or value == -1):
            return None
        return "Value must be between 1 and 9 or equal to -1"

    def __str__(self) -> str:
        return "1 to 9, or -1"


def at_least(least: int, most: int = LONG_MAX) -> Range:
    """A whole number from `least` on."""
    return Range(least, most)


def one_of(*choices: str) -> OneOf:
    """One of these words."""
    return OneOf(choices)


class ValueType(IntEnum):
    """What a value is, in the numbers of Kafka's DescribeConfigs."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a setting's value is written. `parse` takes text or a TOML value and raises ValueError with a reason."""

    title: str
    parse: Callable[[object], object]
    show: Callable[[object], str] = str
    """Back to the form that `parse` reads and that Kafka's tools print."""
    value_type: ValueType = ValueType.STRING
    """What tools are told; a LONG whose limit fits an INT is one."""


def parse_boolean(raw: object) -> bool:
    """`true` or `false`, in any case."""
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.strip().lower() in ("true", "false"):
        return raw.strip().lower() == "true"
    raise ValueError("Expected value to be either true or false")


def parse_count(raw: object) -> int:
    """A whole number without a unit."""
    return _parse_number(raw, {}, "a whole number")


def parse_size(raw: object) -> int:
    """Bytes: a whole number, or one with a unit (`512kB`, `1GiB`)."""
    return _parse_number(raw, _SIZE_UNITS, "a size in bytes, such as 1048576 or 1MiB")


def parse_duration(raw: object) -> int:
    """Milliseconds: a whole number, or one with a unit (`250ms`, `30s`, `7d`)."""
    return _parse_number(raw, _DURATION_UNITS, "a time in milliseconds, such as 30000 or 30s")


def parse_text(raw: object) -> str:
    """Text as it stands."""
    if isinstance(raw, str):
        return raw.strip()
    raise ValueError("Expected a string")


def _parse_number(raw: object, units: Mapping[str, int], wanted: str) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    match = _NUMBER.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        raise ValueError(f"Expected {wanted}")
    whole, fraction, unit = match[1], match[2] or "", match[3].lower()
    if unit and unit not in units:
        raise ValueError(f"Expected {wanted}; {match[3]!r} is no unit of it")
    # "1.5h" is exact in milliseconds, "0.3ms" is not: integers throughout, so that nothing is rounded in silence.
    denominator: int = 10 ** len(fraction)
    scaled, rest = divmod(int(whole + fraction) * units.get(unit, 1), denominator)
    if rest:
        raise ValueError(f"Expected {wanted}; this is not a whole number of them")
    return scaled


def show_boolean(value: object) -> str:
    """`true` or `false`."""
    return "true" if value else "false"


BOOLEAN = Kind(title="boolean", parse=parse_boolean, show=show_boolean, value_type=ValueType.BOOLEAN)
COUNT = Kind(title="number", parse=parse_count, value_type=ValueType.LONG)
SIZE = Kind(title="bytes", parse=parse_size, value_type=ValueType.LONG)
DURATION = Kind(title="milliseconds", parse=parse_duration, value_type=ValueType.LONG)
TEXT = Kind(title="text", parse=parse_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The declaration of one setting."""

    name: str
    default: object
    text: str
    limit: Limit | None
    kind: Kind
    broker_name: str
    """What the broker-wide default of a topic setting is called; for a broker setting its own name."""
    aliases: tuple[str, ...]
    is_dynamic: bool
    """Whether a broker's setting can be changed while it runs. Those of topics always can."""

    @property
    def value_type(self) -> ValueType:
        """What a value is, as tools are told."""
        kind = self.kind.value_type
        fits_int = isinstance(self.limit, Range | GzipLevel) and self.limit.most <= INT_MAX
        return ValueType.INT if kind is ValueType.LONG and fits_int else kind

    def show(self, raw: object, *, name: str = "") -> str:
        """A raw value in the form that Kafka's tools print. `name` says how it was written, for the error."""
        return self.kind.show(self.parse(raw, name=name))

    def parse(self, raw: object, *, name: str = "", origin: str = "") -> object:
        """The value meant by a raw one. `name` and `origin` say how and where it was written, for the error."""
        try:
            value = self.kind.parse(raw)
        except ValueError as error:
            raise invalid(name or self.name, raw, str(error), origin) from None
        reason = self.limit.refusal(value) if self.limit is not None else None
        if reason is not None:
            raise invalid(name or self.name, raw, reason, origin)
        return value


def setting(
    name: str,
    default: T,
    text: str,
    limit: Limit | None = None,
    *,
    kind: Kind | None = None,
    broker_name: str | None = None,
    aliases: tuple[str, ...] = (),
    dynamic: bool = False,
) -> T:
    """Declares a dataclass field as a setting. Its kind follows from the default and from the unit in its name.

    `dynamic` promises that whoever reads the value notices when it is changed while the broker runs.
    """
    declared = Setting(
        name=name,
        default=default,
        text=text,
        limit=limit,
        kind=kind or _kind_of(name, default),
        broker_name=broker_name or name,
        aliases=aliases,
        is_dynamic=dynamic,
    )
    made: T = field(default=default, metadata={_SETTING: declared})
    return made


def _kind_of(name: str, default: object) -> Kind:
    if isinstance(default, bool):
        return BOOLEAN
    if isinstance(default, str):
        return TEXT
    assert isinstance(default, int), f"{name}: say its kind"
    return {"bytes": SIZE, "ms": DURATION}.get(name.rsplit(".", 1)[-1], COUNT)


def settings_of(config: type) -> dict[str, Setting]:
    """The settings that a dataclass declares, by attribute name, in order."""
    return {one.name: one.metadata[_SETTING] for one in fields(config) if _SETTING in one.metadata}


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """A setting that Kafka's users know and that has no mechanism here yet."""

    text: str
    """What would be needed, as the subject of "is not built yet"."""
    accepted: str | None = None
    """The one value that says what happens anyway."""
    declared_type: ValueType | None = None
    """What Kafka calls the value where that cannot be told from it: most numbers are LONG, most texts STRING."""

    @property
    def value_type(self) -> ValueType:
        """What a value is, as tools are told."""
        if self.declared_type is not None:
            return self.declared_type
        if self.accepted in ("true", "false"):
            return ValueType.BOOLEAN
        return ValueType.LONG if _NUMBER.fullmatch(self.accepted or "") else ValueType.STRING

    @property
    def why(self) -> str:
        """What is said of it where settings are listed."""
        return f"{self.text[0].upper()}{self.text[1:]} is not built yet; the value says what happens anyway."

    def check(self, name: str, raw: object, origin: str = "") -> None:
        """Refuses every value but the accepted one."""
        if self.accepted is not None and plain(raw) == self.accepted:
            return
        only = "" if self.accepted is None else f"; the only value accepted is {self.accepted or 'the empty one'}"
        raise invalid(name, raw, f"{self.text} is not built yet{only}", origin)


def plain(raw: object) -> str:
    """A raw value in Kafka's own spelling, for comparing: text, `true`/`false`, lists joined by commas."""
    if isinstance(raw, bool):
        return show_boolean(raw)
    if isinstance(raw, list | tuple):
        return ",".join(plain(one) for one in raw)
    text = str(raw).strip()
    return text.lower() if text.lower() in ("true", "false") else text


def invalid(name: str, raw: object, reason: str, origin: str = "") -> ConfigError:
    """The refusal of a value, in the words Kafka's tools know, with its origin where there can be several."""
    where = f" ({origin})" if origin else ""
    return ConfigError(f"Invalid value {plain(raw)} for configuration {name}{where}: {reason}")


def unknown(what: str, name: str, known: Iterable[str], origin: str = "") -> ConfigError:
    """The refusal of a name, with the one that was probably meant."""
    from difflib import get_close_matches  # an error path alone needs it

    near = get_close_matches(name, list(known), n=1)
    where = f" ({origin})" if origin else ""
    hint = f"; did you mean {near[0]}?" if near else ""
    return ConfigError(f"Unknown {what} config name: {name}{where}{hint}")


def changed(config: ConfigT, changes: Mapping[str, object]) -> ConfigT:
    """A copy of a frozen config with other attribute values; each was parsed by its own setting."""
    return replace(config, **changes)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The settings of one topic's logs, under Kafka's names."""

    segment_bytes: int = setting(
        "segment.bytes",
        1 << 30,
        "A segment is closed and the next one begun before it would grow beyond this size.",
        at_least(1024, INT_MAX),
        broker_name="log.segment.bytes",
    )
    segment_ms: int = setting(
        "segment.ms",
        7 * 86_400_000,
        "A segment that holds records is closed when its first batch is this old, however small it is.",
        at_least(1),
        broker_name="log.roll.ms",
    )
    segment_index_bytes: int = setting(
        "segment.index.bytes",
        10 << 20,
        "The most that each index of a segment may take; when one is full, the segment is closed.",
        at_least(64, INT_MAX),
        broker_name="log.index.size.max.bytes",
    )
    index_interval_bytes: int = setting(
        "index.interval.bytes",
        4096,
        "One index entry is written for about this many bytes of log.",
        at_least(0, INT_MAX),
        broker_name="log.index.interval.bytes",
    )
    max_message_bytes: int = setting(
        "max.message.bytes",
        1048588,
        "The largest record batch accepted, as it travels: compressed, header included.",
        at_least(0, INT_MAX),
        broker_name="message.max.bytes",
    )
    message_timestamp_type: str = setting(
        "message.timestamp.type",
        "CreateTime",
        "Whose clock stamps a record: the producer's (`CreateTime`) or the broker's at append (`LogAppendTime`).",
        one_of("CreateTime", "LogAppendTime"),
        broker_name="log.message.timestamp.type",
    )
    message_timestamp_before_max_ms: int = setting(
        "message.timestamp.before.max.ms",
        LONG_MAX,
        "Under `CreateTime`: how far a record's time may lie before the broker's. Unless it is without limit, the "
        "records of every batch are decoded to look.",
        at_least(0),
        broker_name="log.message.timestamp.before.max.ms",
    )
    message_timestamp_after_max_ms: int = setting(
        "message.timestamp.after.max.ms",
        3_600_000,
        "Under `CreateTime`: how far a record's time may lie ahead of the broker's.",
        at_least(0),
        broker_name="log.message.timestamp.after.max.ms",
    )
    compression_type: str = setting(
        "compression.type",
        "producer",
        "How batches are compressed in the log: as the producer did (`producer`), which costs the broker nothing, or "
        "all alike; then those that are not are compressed anew by the broker.",
        one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
    )
    compression_gzip_level: int = setting(
        "compression.gzip.level", -1, "The level of `compression.type=gzip`; -1 for the usual one.", GzipLevel()
    )
    compression_lz4_level: int = setting(
        "compression.lz4.level", 9, "The level of `compression.type=lz4`.", at_least(1, 17)
    )
    compression_zstd_level: int = setting(
        "compression.zstd.level", 3, "The level of `compression.type=zstd`.", at_least(-131_072, 22)
    )
    write_caching: bool = setting(
        "write.caching",
        default=False,
        text="With `true`, records are acknowledged and shown to consumers from the page cache: they survive the death "
        "of the process, not a power cut. With `false`, acks=all answers, and consumers see, what is on the disk.",
    )
    flush_messages: int = setting(
        "flush.messages",
        LONG_MAX,
        "Under `write.caching`: flush to the disk when this many records wait for it. Without, every write is flushed.",
        at_least(1),
        broker_name="log.flush.interval.messages",
    )
    flush_ms: int = setting(
        "flush.ms",
        LONG_MAX,
        "Under `write.caching`: flush to the disk when a record has waited this long for it; 1000 unless set. "
        "Without, every write is flushed at once.",
        at_least(0),
        broker_name="log.flush.interval.ms",
    )

    @property
    def caching_flush_ms(self) -> int:
        """Under `write.caching`: how long what is written may wait for a flush."""
        return WRITE_CACHING_FLUSH_MS if self.flush_ms == LONG_MAX else self.flush_ms

    def with_overrides(self, overrides: Mapping[str, str]) -> "LogConfig":
        """A copy with a topic's own settings, by Kafka's names. Raises ConfigError."""
        changes: dict[str, object] = {}
        for name, raw in overrides.items():
            attribute = TOPIC_ATTRIBUTES.get(name)
            if attribute is not None:
                changes[attribute] = TOPIC_SETTINGS[attribute].parse(raw)
            elif name in TOPIC_NOT_BUILT:
                TOPIC_NOT_BUILT[name].check(name, raw)
            else:
                raise unknown("topic", name, (*TOPIC_ATTRIBUTES, *TOPIC_NOT_BUILT))
        return changed(self, changes)

    def entries(self) -> dict[str, str]:
        """Every topic setting in force by Kafka's name, in Kafka's spelling, those that cannot be changed included."""
        own = {one.name: one.kind.show(getattr(self, attribute)) for attribute, one in TOPIC_SETTINGS.items()}
        fixed = {name: one.accepted for name, one in TOPIC_NOT_BUILT.items() if one.accepted is not None}
        return dict(sorted((own | fixed).items()))


def spelled(overrides: Mapping[str, str]) -> dict[str, str]:
    """A topic's own settings in Kafka's spelling, whatever they were written like. Raises ConfigError."""
    values = LogConfig().with_overrides(overrides).entries()
    return {name: values[name] for name in overrides}


TOPIC_SETTINGS: Mapping[str, Setting] = settings_of(LogConfig)
"""By attribute of LogConfig."""
TOPIC_ATTRIBUTES: Mapping[str, str] = {one.name: attribute for attribute, one in TOPIC_SETTINGS.items()}
"""The attribute of each topic setting, by its name."""

_TIERING = "tiered storage"
_COMPACTION = "compaction"
_RETENTION = "retention"
_THROTTLE = "replication"
_LIMITS = "a limit on the backlog"

TOPIC_NOT_BUILT: Mapping[str, NotBuilt] = {
    "cleanup.policy": NotBuilt(_COMPACTION, "delete", ValueType.LIST),
    "delete.retention.ms": NotBuilt(_COMPACTION, "86400000"),
    "file.delete.delay.ms": NotBuilt("a delay between a deletion and the removal of the files", "0"),
    "follower.replication.throttled.replicas": NotBuilt(_THROTTLE, "", ValueType.LIST),
    "leader.replication.throttled.replicas": NotBuilt(_THROTTLE, "", ValueType.LIST),
    "local.retention.bytes": NotBuilt(_TIERING, "-2"),
    "local.retention.ms": NotBuilt(_TIERING, "-2"),
    "max.compaction.lag.ms": NotBuilt(_COMPACTION, str(LONG_MAX)),
    "message.downconversion.enable": NotBuilt("conversion to old record formats", "false"),
    "min.cleanable.dirty.ratio": NotBuilt(_COMPACTION, "0.5", ValueType.DOUBLE),
    "min.compaction.lag.ms": NotBuilt(_COMPACTION, "0"),
    "min.insync.replicas": NotBuilt("replication", "1", ValueType.INT),
    "preallocate": NotBuilt("preallocation of segments", "false"),
    "remote.log.copy.disable": NotBuilt(_TIERING, "false"),
    "remote.log.delete.on.disable": NotBuilt(_TIERING, "false"),
    "remote.storage.enable": NotBuilt(_TIERING, "false"),
    "retention.bytes": NotBuilt(_RETENTION, "-1"),
    "retention.ms": NotBuilt(_RETENTION, "-1"),
    "segment.jitter.ms": NotBuilt("jitter of the segments' age", "0"),
    "unclean.leader.election.enable": NotBuilt("replication", "false"),
    "tidelog.dedup.window.ms": NotBuilt("deduplication by time"),
    "tidelog.max.backlog.bytes": NotBuilt(_LIMITS),
    "tidelog.max.backlog.records": NotBuilt(_LIMITS),
    "tidelog.message.ttl.ms": NotBuilt("a time to live of records"),
    "tidelog.overflow": NotBuilt(_LIMITS),
}
"""Topic settings that are known and refused, but for the value that tells what happens anyway."""

assert not TOPIC_NOT_BUILT.keys() & TOPIC_ATTRIBUTES.keys(), "a setting is built or it is not"
