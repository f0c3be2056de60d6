"""Every setting of the broker, declared once; and how files, environment and command line become a `BrokerConfig`.

Precedence: defaults < files, later over earlier < environment < `--set`. Each value remembers where it came from.

Rule: a setting stands here only if something in the broker reads it. What Kafka has and the broker has not is refused
by name; a value that says what happens anyway is accepted (see `storage.config`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from ..storage.config import (
    INT_MAX,
    TOPIC_SETTINGS,
    ConfigError,
    Kind,
    LogConfig,
    Setting,
    ValueType,
    at_least,
    changed,
    parse_text,
    setting,
    settings_of,
    unknown,
)
from .group_config import GROUP_SETTINGS, GroupConfig
from .kafka_settings import BROKER_NOT_BUILT

__all__ = ["BrokerConfig", "ConfigError", "ConfigSource", "HttpAddress", "ListenerAddress", "LogConfig", "Origin"]

ENVIRONMENT_PREFIX = "TIDELOG_CONFIG_"
STATE_DIRECTORY = "STATE_DIRECTORY"
"""systemd's word for the directory it made for the service: the default place of the data when set."""

PARTITIONS_MAX = 10_000
"""Of one topic. A request costs little to send, and files to obey."""

DEFAULT_KAFKA_PORT = 9092
DEFAULT_HTTP_PORT = 9192


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerAddress:
    """Where to listen, and what clients are told to dial: what they dialled already, unless something is advertised."""

    host: str
    port: int
    advertised_host: str | None = None
    advertised_port: int | None = None

    @property
    def name(self) -> str:
        """How the listener is called in metrics and logs."""
        return join_address(self.host, self.port)

    def __str__(self) -> str:
        if self.advertised_host is None or self.advertised_port is None:
            return self.name
        return f"{self.name}@{join_address(self.advertised_host, self.advertised_port)}"


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where metrics and health are served."""

    host: str
    port: int

    def __str__(self) -> str:
        return join_address(self.host, self.port)


def join_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str, default_port: int | None) -> tuple[str, int]:
    """The host and port of `HOST:PORT`, `[IPV6]:PORT` or, with a default port, `HOST`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "" if default_port is None else str(default_port)
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") and host.endswith("]") else host
    if host.isdecimal():
        raise ValueError(f"Expected HOST:PORT, not {text!r}: a number alone is no host")
    if not host or not port.isdecimal() or int(port) > 65535 or set(host) & set("[]/@ ,"):
        raise ValueError(f"Expected HOST:PORT, not {text!r}")
    if ":" in host and f"[{host}]" not in text:
        raise ValueError(f"Expected an IPv6 address in brackets, such as [::1]:9092, not {text!r}")
    return host, int(port)


def parse_listeners(raw: object) -> tuple[ListenerAddress, ...]:
    """`HOST:PORT[@ADVERTISED_HOST:PORT]`, several in a list or between commas; Kafka's `PLAINTEXT://` is understood."""
    texts = raw if isinstance(raw, list | tuple) else parse_text(raw).split(",")
    listeners = tuple(_parse_listener(parse_text(text)) for text in texts)
    if len({(one.host, one.port) for one in listeners if one.port}) != sum(1 for one in listeners if one.port):
        raise ValueError("Two listeners on one address")
    return listeners


def _parse_listener(text: str) -> ListenerAddress:
    name, scheme, rest = text.rpartition("://")
    if scheme and name.upper() != "PLAINTEXT":
        raise ValueError(f"Listener {name!r}: encryption and authentication are not built yet")
    address, at, advertised = rest.partition("@")
    if scheme and address.startswith(":"):
        address = f"0.0.0.0{address}"  # noqa: S104 - how Kafka's users ask for every interface
    host, port = split_address(address, DEFAULT_KAFKA_PORT)
    if not at:
        return ListenerAddress(host=host, port=port)
    advertised_host, advertised_port = split_address(advertised, port or None)
    if advertised_port == 0:
        raise ValueError("Port 0 cannot be advertised")
    return ListenerAddress(host=host, port=port, advertised_host=advertised_host, advertised_port=advertised_port)


def parse_http(raw: object) -> HttpAddress | None:
    """`HOST:PORT`; `off` for none."""
    text = parse_text(raw)
    return None if text.lower() in ("off", "") else HttpAddress(*split_address(text, DEFAULT_HTTP_PORT))


def parse_directory(raw: object) -> str:
    """One directory. Kafka's `log.dirs` may name several: not here."""
    text = ",".join(parse_text(one) for one in raw) if isinstance(raw, list | tuple) else parse_text(raw)
    if not text:
        raise ValueError("Expected a directory")
    if "," in text:
        raise ValueError("More than one data directory is not built yet")
    return text


@dataclass(frozen=True, slots=True)
class AddressLimit:
    """How many connections there may be from one address."""

    address: str
    count: int

    def __str__(self) -> str:
        return join_address(self.address, self.count)


def parse_address_limits(raw: object) -> tuple[AddressLimit, ...]:
    """`ADDRESS:COUNT`, several in a list or between commas. Host names are refused: they may mean another one later."""
    texts = raw if isinstance(raw, list | tuple) else parse_text(raw).split(",")
    return tuple(_parse_address_limit(parse_text(text)) for text in texts if parse_text(text))


def _parse_address_limit(text: str) -> AddressLimit:
    import ipaddress  # who sets no limits need not wait for it

    address, _, count = text.rpartition(":")
    try:
        host = ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"Expected ADDRESS:COUNT, such as 10.0.0.7:100, not {text!r}") from None
    if not count.isdecimal() or int(count) > INT_MAX:
        raise ValueError(f"Expected a number of connections after the address, not {count!r}")
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return AddressLimit(str(mapped or host), int(count))


def _show_list(value: object) -> str:
    assert isinstance(value, tuple)
    return ",".join(map(str, value))


def _show_listeners(value: object) -> str:
    assert isinstance(value, tuple)
    return ",".join(str(listener) for listener in value)


LISTENERS = Kind(title="list of addresses", parse=parse_listeners, show=_show_listeners, value_type=ValueType.LIST)
ADDRESS_LIMITS = Kind(title="list of limits", parse=parse_address_limits, show=_show_list)
HTTP = Kind(title="address", parse=parse_http, show=lambda value: "off" if value is None else str(value))
DIRECTORY = Kind(title="directory", parse=parse_directory)


class ConfigSource(IntEnum):
    """Where a value comes from, in the numbers of Kafka's DescribeConfigs."""

    DYNAMIC_TOPIC_CONFIG = 1
    DYNAMIC_BROKER_CONFIG = 2
    DYNAMIC_DEFAULT_BROKER_CONFIG = 3
    STATIC_BROKER_CONFIG = 4
    DEFAULT_CONFIG = 5
    DYNAMIC_BROKER_LOGGER_CONFIG = 6
    GROUP_CONFIG = 8


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value of the broker's configuration was written."""

    source: ConfigSource
    place: str
    """For people: a file's name, an environment variable, `--set`; empty for a default."""


DEFAULT = Origin(ConfigSource.DEFAULT_CONFIG, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """What the broker was told, and what it assumes where it was told nothing."""

    listeners: tuple[ListenerAddress, ...] = setting(
        "listeners",
        (ListenerAddress(host="127.0.0.1", port=DEFAULT_KAFKA_PORT),),
        "Where clients connect, Kafka's and tidelog's alike: `HOST:PORT[@ADVERTISED_HOST:PORT]`, several as a list. "
        "Clients are told to dial what they dialled unless an address is advertised: do so behind address translation.",
        kind=LISTENERS,
    )
    http: HttpAddress | None = setting(  # noqa: RUF009 - a declaration; nothing is computed
        "http.listen",
        HttpAddress("127.0.0.1", DEFAULT_HTTP_PORT),
        "Where `/metrics`, `/live`, `/ready` and `/version` are served; `off` for nowhere.",
        kind=HTTP,
    )
    data_dir: str = setting(
        "data.dir",
        "tidelog-data",
        f"The directory that holds everything. Where systemd sets `{STATE_DIRECTORY}`, that is the default.",
        kind=DIRECTORY,
        aliases=("log.dirs", "log.dir"),
    )
    node_id: int = setting(
        "node.id", 1, "The number of this broker, as clients see it.", at_least(0, INT_MAX), aliases=("broker.id",)
    )
    num_partitions: int = setting(
        "num.partitions",
        1,
        "Partitions of a topic that is created without saying how many.",
        at_least(1, PARTITIONS_MAX),
    )
    auto_create_topics_enable: bool = setting(
        "auto.create.topics.enable",
        default=True,
        text="Whether a topic comes into being when a client that allows it asks for its metadata.",
    )
    socket_request_max_bytes: int = setting(
        "socket.request.max.bytes",
        104_857_600,
        "The largest request accepted; a connection that announces a larger one is closed. Of requests that bring no "
        "records, 8 MiB are accepted at the most, and of arrays in a request 262,144 elements in all.",
        at_least(1024, INT_MAX),
    )
    queued_max_request_bytes: int = setting(
        "queued.max.request.bytes",
        268_435_456,
        "Memory for requests that are not yet whole or not yet answered, over all connections; -1 for no limit. When "
        "it is used up, connections with a request of more than 4 KiB on its way wait for their turn to send the rest; "
        "nothing is dropped. One request at a time may go beyond it, so that those waiting for each other cannot "
        "wait for ever.",
        at_least(-1),
    )
    queued_max_response_bytes: int = setting(
        "queued.max.response.bytes",
        268_435_456,
        "Memory for answers that clients have not taken, over all connections; -1 for no limit. When it is used up, "
        "fetches wait. A fetch returns no more than what is left, but for one batch, which it returns in any case.",
        at_least(-1),
    )
    fetch_max_bytes: int = setting(
        "fetch.max.bytes",
        57_671_680,
        "The most that one fetch returns, whatever it asks for; a first batch that is larger is returned all the same.",
        at_least(1024, INT_MAX),
    )
    fetch_session_slots_max: int = setting(
        "max.incremental.fetch.session.cache.slots",
        1000,
        "Fetch sessions (KIP-227) remembered at a time; readers without one name all their partitions in every fetch.",
        at_least(0, INT_MAX),
    )
    max_connections: int = setting(
        "max.connections",
        INT_MAX,
        "Connections at a time, over all listeners; more are closed.",
        at_least(1, INT_MAX),
        dynamic=True,
    )
    max_connections_per_ip: int = setting(
        "max.connections.per.ip",
        INT_MAX,
        "Connections at a time from one address, over all listeners; more are closed. An IPv4 address that comes "
        "through IPv6 is the same address.",
        at_least(0, INT_MAX),
        dynamic=True,
    )
    max_connections_per_ip_overrides: tuple[AddressLimit, ...] = setting(
        "max.connections.per.ip.overrides",
        (),
        "`ADDRESS:COUNT` pairs for addresses that may have more, or fewer, than `max.connections.per.ip`.",
        kind=ADDRESS_LIMITS,
        dynamic=True,
    )
    connections_max_idle_ms: int = setting(
        "connections.max.idle.ms", 600_000, "A connection is closed when nothing was asked for this long.", at_least(1)
    )
    connections_handshake_timeout_ms: int = setting(
        "connections.handshake.timeout.ms",
        10_000,
        "A new connection is closed when it has not sent a whole request within this time.",
        at_least(1),
    )
    connections_frame_timeout_ms: int = setting(
        "connections.frame.timeout.ms",
        10_000,
        "A connection is closed when a request that it has begun to send came slower than 1 KiB a second for this "
        "long. Time in which the broker itself did not read does not count.",
        at_least(1),
    )
    connections_send_timeout_ms: int = setting(
        "connections.send.timeout.ms",
        600_000,
        "A connection is closed when it has taken nothing of its answers for this long.",
        at_least(1),
    )
    connections_max_inflight_requests: int = setting(
        "connections.max.inflight.requests",
        256,
        "Requests of one connection that may wait for their answer; until one is answered, no more are read from it.",
        at_least(1, 1_000_000),
    )
    durable_mark_interval_ms: int = setting(
        "log.flush.offset.checkpoint.interval.ms",
        1000,
        "How often the durable mark of a log that is being written to is written. After a crash a log is checked from "
        "its mark on.",
        at_least(10, 60_000),
    )
    open_files_max: int = setting(
        "log.open.files.max",
        1000,
        "Segment and index files kept open beside those being written; the least recently used is closed first.",
        at_least(16, 1_000_000),
    )
    log_min_free_bytes: int = setting(
        "log.min.free.bytes",
        -1,
        "How much of the disk is kept free: below it, records, topics and partitions are refused (KAFKA_STORAGE_ERROR) "
        "until space is freed; consumers, their commits and deletions go on. -1 for 1 GiB or 2 % of the disk, "
        "whichever is more, but no more than 5 %.",
        at_least(-1),
        dynamic=True,
    )
    log_reserve_bytes: int = setting(
        "log.reserve.bytes",
        67_108_864,
        "Space that is held by a file `.reserve` in the data directory while the broker runs, and given back when "
        "others have filled the disk, so that commits, deletions and a clean stop go on. No more than 6 % of the "
        "disk; 0 for none.",
        at_least(0),
    )
    log_scrub_bytes_per_second: int = setting(
        "log.scrub.bytes.per.second",
        10_000_000,
        "How fast segments are read again to find out whether they are still what was written; 0 for never.",
        at_least(0),
        dynamic=True,
    )
    log_scrub_interval_ms: int = setting(
        "log.scrub.interval.ms",
        604_800_000,
        "How long ago a segment was read as a whole when it is read again. Where there is more than can be read in "
        "this time, one round follows on the other.",
        at_least(1000),
        dynamic=True,
    )
    producer_id_expiration_ms: int = setting(
        "producer.id.expiration.ms",
        86_400_000,
        "How long a partition remembers an idempotent producer that writes nothing. Of one that was forgotten, a retry "
        "is taken for new.",
        at_least(1, INT_MAX),
        dynamic=True,
    )
    producer_id_expiration_check_interval_ms: int = setting(
        "producer.id.expiration.check.interval.ms",
        600_000,
        "How often producers are looked through for such.",
        at_least(1, INT_MAX),
    )
    shutdown_grace_ms: int = setting(
        "shutdown.grace.ms",
        5000,
        "On SIGTERM: how long requests that were accepted may take to be answered before connections are closed.",
        at_least(0, 3_600_000),
    )
    log: LogConfig = field(default_factory=LogConfig)
    """What a topic has that says nothing else; set under the `log.` names of the topic settings."""
    groups: GroupConfig = field(default_factory=GroupConfig)
    """What holds for groups that say nothing else."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Where each value that was set came from, by the setting's name."""

    @classmethod
    def load(
        cls,
        *,
        files: Sequence[tuple[str, str]] = (),
        environ: Mapping[str, str] | None = None,
        overrides: Sequence[str] = (),
    ) -> "BrokerConfig":
        """Reads files (name, TOML text), the environment and `k=v` overrides. Raises ConfigError."""
        environ = environ or {}
        layers = [_from_systemd(environ), *(_from_toml(name, text) for name, text in files)]
        layers += [_from_environment(environ), _from_overrides(overrides)]
        values: dict[str, object] = {}
        origins: dict[str, Origin] = {}
        for layer in layers:
            for one, given in _meant(layer):
                origins[one.broker_name if one else given.name] = Origin(ConfigSource.STATIC_BROKER_CONFIG, given.place)
                if one is not None:
                    values[one.broker_name] = one.parse(given.raw, name=given.name, origin=given.place)
        return _with_values(replace(cls(), origins=origins), values)

    def with_overrides(self, *layers: Mapping[str, str]) -> "BrokerConfig":
        """A copy with what was set at run time, by name; later layers over earlier ones. Raises ConfigError."""
        values: dict[str, object] = {}
        for layer in layers:
            values |= {name: DYNAMIC[name].parse(raw, name=name) for name, raw in layer.items()}
        return _with_values(self, values)

    def origin(self, name: str) -> Origin:
        """Where the value of a setting came from."""
        return self.origins.get(name, DEFAULT)


BROKER_SETTINGS: Mapping[str, Setting] = settings_of(BrokerConfig)
"""By attribute of BrokerConfig."""

KEYS: Mapping[str, Setting] = {
    **{key: one for one in BROKER_SETTINGS.values() for key in (one.name, *one.aliases)},
    **{one.name: one for one in GROUP_SETTINGS.values()},
    **{one.broker_name: one for one in TOPIC_SETTINGS.values()},
}
"""Every name under which something can be set, and what it sets."""

assert not KEYS.keys() & BROKER_NOT_BUILT.keys(), "a setting is built or it is not"

DYNAMIC: Mapping[str, Setting] = {
    **{one.name: one for one in BROKER_SETTINGS.values() if one.is_dynamic},
    **{one.broker_name: one for one in TOPIC_SETTINGS.values()},
}
"""What can be changed while the broker runs, as in Kafka: the defaults of topics, and few things else."""


@dataclass(frozen=True, slots=True)
class Given:
    """One setting as it was written somewhere."""

    name: str
    raw: object
    place: str


def _with_values(config: BrokerConfig, values: Mapping[str, object]) -> BrokerConfig:
    """A copy with other values, by the settings' broker names. Raises ConfigError where they do not go together."""
    log = changed(config.log, _by_attribute(TOPIC_SETTINGS, values))
    groups = changed(config.groups, _by_attribute(GROUP_SETTINGS, values))
    groups.check()
    config = replace(changed(config, _by_attribute(BROKER_SETTINGS, values)), log=log, groups=groups)
    if config.max_connections_per_ip == 0 and not config.max_connections_per_ip_overrides:
        raise ConfigError(
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set."
        )
    return config


def _by_attribute(settings: Mapping[str, Setting], values: Mapping[str, object]) -> dict[str, object]:
    return {attribute: values[one.broker_name] for attribute, one in settings.items() if one.broker_name in values}


def _meant(layer: Iterable[Given]) -> Iterator[tuple[Setting | None, Given]]:
    """The settings of one layer, None for what says that a mechanism is not built.

    Raises for what is unknown, asks for what is not built, or is set twice under two names.
    """
    seen: dict[str, Given] = {}
    for given in layer:
        one = KEYS.get(given.name)
        if one is None:
            _check_unbuilt(given)
            yield None, given
            continue
        twin = seen.setdefault(one.broker_name, given)
        # Of several `--set` of one key the last wins, as on every command line; two names for one thing are a slip.
        if twin is not given and twin.name != given.name:
            raise ConfigError(f"{twin.name} and {given.name} ({given.place}) set the same thing; keep one of them")
        yield one, given


def _check_unbuilt(given: Given) -> None:
    not_built = BROKER_NOT_BUILT.get(given.name)
    if not_built is not None:
        not_built.check(given.name, given.raw, given.place)
        return
    for one in TOPIC_SETTINGS.values():
        if one.name == given.name:
            raise ConfigError(
                f"{given.name} ({given.place}) is a topic's; the default of all topics is {one.broker_name}"
            )
    raise unknown("broker", given.name, (*KEYS, *BROKER_NOT_BUILT), given.place)


def _from_systemd(environ: Mapping[str, str]) -> Iterator[Given]:
    directory = environ.get(STATE_DIRECTORY, "").split(":")[0]
    if directory:
        yield Given("data.dir", directory, STATE_DIRECTORY)


def _from_toml(place: str, text: str) -> Iterator[Given]:
    import tomllib  # who has no file need not wait for it

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{place}: {error}") from None
    return _flatten(table, "", place)


def _flatten(table: Mapping[str, object], prefix: str, place: str) -> Iterator[Given]:
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{name}.", place)
        else:
            yield Given(name, value, place)


_VARIABLES: Mapping[str, str] = {key.replace(".", "_").upper(): key for key in (*KEYS, *BROKER_NOT_BUILT)}
"""Environment variables without their prefix, and the settings they mean."""

assert len(_VARIABLES) == len(KEYS) + len(BROKER_NOT_BUILT), "two settings would share an environment variable"


def _from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    for variable, value in sorted(environ.items()):
        if not variable.upper().startswith(ENVIRONMENT_PREFIX):
            continue
        rest = variable[len(ENVIRONMENT_PREFIX) :]
        yield Given(_VARIABLES.get(rest.upper(), rest.lower().replace("_", ".")), value, variable)


def _from_overrides(overrides: Sequence[str]) -> Iterator[Given]:
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: expected KEY=VALUE")
        yield Given(name.strip(), value, "--set")
