"""Settings of the client, its producers and readers; and the only place where it meets a clock and chance.

Sizes may be written "1MiB", "500kB" or as a number of bytes. Times are seconds, as everywhere in asyncio, except
where a name ends in `_ms`. Nothing else in this folder reads the wall clock or draws a random number: both come from
`ClientConfig`, so that a test can hand in its own. Durations are measured with the running loop's `time()`.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..protocol.compression import Codec
from .offsets import OffsetSpec

DEFAULT_PORT = 9092
DEFAULT_SERVER = f"127.0.0.1:{DEFAULT_PORT}"
SERVER_VARIABLE = "TIDELOG_SERVER"
SCHEME = "tidelog://"

KIB = 1 << 10
MIB = 1 << 20

_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def wall_clock_ms() -> int:
    """Milliseconds since 1970, by the machine's clock."""
    return time.time_ns() // 1_000_000


def fresh_random() -> random.Random:
    """Chance that nobody can repeat."""
    return random.Random()


def parse_size(size: int | str) -> int:
    """Bytes, from a number or from text such as "32MiB"."""
    if isinstance(size, int):
        value = size
    else:
        match = _SIZE.fullmatch(size.strip())
        unit = _UNITS.get(match[2].upper()) if match else None
        if match is None or unit is None:
            raise ValueError(f"{size!r} is not a size; write for example 65536, '500kB' or '32MiB'")
        value = int(float(match[1]) * unit)
    if value <= 0:
        raise ValueError(f"a size must be positive, not {size!r}")
    return value


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_servers(url: str) -> tuple[Address, ...]:
    """Addresses from `tidelog://host:port[,host:port]`, or the same without the scheme; the port defaults to 9092."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme != SCHEME.removesuffix("://"):
        raise ValueError(f"{url!r}: the scheme is {SCHEME}, not {scheme}://")
    text = (rest if separator else url).strip().rstrip("/")
    addresses = tuple(_parse_address(part.strip(), url) for part in text.split(",") if part.strip())
    if not addresses:
        raise ValueError(f"{url!r} names no server; write for example {SCHEME}{DEFAULT_SERVER}")
    return addresses


def _parse_address(text: str, url: str) -> Address:
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?", text)
    plain = re.fullmatch(r"([^:\s/@]+)(?::(\d+))?", text)
    match = bracketed or plain
    if match is None:
        raise ValueError(f"{url!r}: {text!r} is not HOST:PORT (an IPv6 address stands in brackets)")
    port = int(match[2]) if match[2] else DEFAULT_PORT
    if not 0 < port < 1 << 16:
        raise ValueError(f"{url!r}: {port} is not a port")
    return Address(match[1], port)


def servers_from(url: str | None) -> tuple[Address, ...]:
    """The addresses that a url, or the environment, or the default gives."""
    return parse_servers(url or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not isinstance(value, int | float):
            raise TypeError(f"{name} is a number, not {value!r}")
        if not value > 0:  # nor NaN
            raise ValueError(f"{name} must be positive, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """What all producers and readers of a client share."""

    servers: tuple[Address, ...]
    client_id: str = "tidelog"
    timeout: float = 30.0
    """How long one call may take, and how long a reader or the admin keeps trying against failures."""
    connect_timeout: float = 10.0
    max_buffer: int = 32 * MIB
    """Records that were sent and not yet acknowledged, in bytes, over all producers."""
    backoff_min: float = 0.05
    backoff_max: float = 2.0
    metadata_max_age: float = 300.0
    frame_size_max: int = 128 * MIB
    receive_buffer: int = 256 * KIB
    now_ms: Callable[[], int] = wall_clock_ms
    random: random.Random = field(default_factory=fresh_random)

    def __post_init__(self) -> None:
        _positive(timeout=self.timeout, connect_timeout=self.connect_timeout, max_buffer=self.max_buffer)
        _positive(backoff_min=self.backoff_min, metadata_max_age=self.metadata_max_age)
        if self.backoff_max < self.backoff_min:
            raise ValueError("backoff_max is less than backoff_min")

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row: doubling, capped, and spread by a fifth either way."""
        if failures <= 0:
            return 0.0
        delay = min(self.backoff_max, self.backoff_min * 2.0 ** min(failures - 1, 30))
        return delay * self.random.uniform(0.8, 1.2)


ACKS = {"all": -1, "-1": -1, "1": 1, "0": 0}


def parse_acks(acks: int | str) -> int:
    """The wire's number for "all", 1 or 0."""
    number = ACKS.get(str(acks))
    if number is None:
        raise ValueError(f"acks is 'all', 1 or 0, not {acks!r}")
    return number


def parse_codec(compression: str | None) -> Codec:
    """The codec of this name; None and "none" are no compression."""
    try:
        return Codec[(compression or "none").upper()]
    except KeyError:
        names = ", ".join(codec.name.lower() for codec in Codec)
        raise ValueError(f"compression is one of {names}, not {compression!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerConfig:
    """How records become batches and batches requests."""

    linger: float = 0.0
    """How long a batch waits for more records; it never waits while it is full. While its partition has a request
    under way it grows anyway, so 0 is the right value unless many small batches hurt."""
    max_batch: int = MIB
    """A batch's size in bytes before compression. A larger record travels alone. The topic's `max.message.bytes`
    (1 MiB and 12 bytes unless it was changed) must allow it."""
    codec: Codec = Codec.NONE
    level: int | None = None
    acks: int = -1
    idempotent: bool | None = None
    """Number the batches, so that none is stored twice and their order holds; None: if `acks` allows it."""
    delivery_timeout: float = 120.0
    """From `send` to the acknowledgement, retries included."""
    requests_in_flight_max: int = 5
    """Requests to one broker; a partition is in one of them at most unless the producer is idempotent."""
    request_size_max: int = 16 * MIB
    auto_create: bool = True
    """Let the broker create a topic that it does not know, if its own settings allow that."""

    def __post_init__(self) -> None:
        _positive(max_batch=self.max_batch, delivery_timeout=self.delivery_timeout)
        _positive(requests_in_flight_max=self.requests_in_flight_max, request_size_max=self.request_size_max)
        if not 0 <= self.linger < self.delivery_timeout:
            raise ValueError(f"linger must be at least 0 and less than the delivery_timeout, not {self.linger}")
        if self.idempotent and self.acks != ACKS["all"]:
            # Without the answer that acks=all gives, a producer cannot tell what it has to send again.
            raise ValueError(f"idempotent=True needs acks='all', not {self.acks}")

    @property
    def is_idempotent(self) -> bool:
        """What `idempotent` comes to."""
        return self.acks == ACKS["all"] if self.idempotent is None else self.idempotent


OUT_OF_RANGE_POLICIES = ("raise", "earliest", "latest")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderConfig:
    """How records are fetched."""

    prefetch: int = 8 * MIB
    """Bytes fetched ahead of the program, over all partitions; a single larger batch is still fetched."""
    partition_bytes_max: int = MIB
    """Bytes of one partition in one answer."""
    max_wait: float = 0.5
    """How long the broker holds a fetch for which it has nothing yet."""
    on_out_of_range: str = "raise"
    """When the log does not hold a position (any more): raise OffsetOutOfRange, or go on at `earliest` or `latest`."""
    check_crcs: bool = True

    def __post_init__(self) -> None:
        _positive(prefetch=self.prefetch, partition_bytes_max=self.partition_bytes_max, max_wait=self.max_wait)
        if self.on_out_of_range not in OUT_OF_RANGE_POLICIES:
            raise ValueError(f"on_out_of_range is one of {', '.join(OUT_OF_RANGE_POLICIES)}")


COMMIT_POLICIES = ("after", "before", "manual")
GROUP_OUT_OF_RANGE_POLICIES = ("start", *OUT_OF_RANGE_POLICIES)
NAME_BYTES_MAX = (1 << 15) - 1
"""Of a group or an instance, as the wire bounds them."""
REBALANCE_TIMEOUT_MAX = (1 << 31) // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """How a consumer is a member of its group, and how it fetches."""

    group: str
    topics: tuple[str, ...] | None
    pattern: str | None
    """For the names of topics, in RE2's syntax; this or `topics`."""
    start: OffsetSpec = "earliest"
    commit: str = "after"
    """Before or after the program has had a record, or when it says so."""
    commit_interval: float = 1.0
    """How often what is done is committed in the background."""
    instance_id: str | None = None
    rebalance_timeout: float = 300.0
    """How long the group waits for this consumer to give partitions up."""
    on_out_of_range: str = "start"
    fetch: ReaderConfig = field(default_factory=ReaderConfig)

    def __post_init__(self) -> None:
        _positive(commit_interval=self.commit_interval, rebalance_timeout=self.rebalance_timeout)
        if self.rebalance_timeout > REBALANCE_TIMEOUT_MAX:
            raise ValueError(f"rebalance_timeout is at most {REBALANCE_TIMEOUT_MAX} s, not {self.rebalance_timeout}")
        _name(self.group, "a consumer needs the name of its group")
        if self.instance_id is not None:
            _name(self.instance_id, "an instance_id is a name")
        if bool(self.topics) == bool(self.pattern):
            raise ValueError("a consumer reads topics, or those whose names match a pattern: give one of the two")
        if self.commit not in COMMIT_POLICIES:
            raise ValueError(f"commit is one of {', '.join(COMMIT_POLICIES)}, not {self.commit!r}")
        if self.on_out_of_range not in GROUP_OUT_OF_RANGE_POLICIES:
            raise ValueError(f"on_out_of_range is one of {', '.join(GROUP_OUT_OF_RANGE_POLICIES)}")


def _name(name: object, complaint: str) -> None:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{complaint}, not {name!r}")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise ValueError(f"{complaint}, of at most {NAME_BYTES_MAX} bytes, not {len(name)} characters")


def parse_topics(topics: object, pattern: object) -> tuple[tuple[str, ...] | None, str | None]:
    """The topics by name, or the pattern of their names."""
    if isinstance(topics, re.Pattern):
        if pattern is not None:
            raise ValueError("two patterns were given")
        topics, pattern = None, topics
    if isinstance(pattern, re.Pattern):
        if pattern.flags & ~re.UNICODE:
            raise ValueError("the broker takes a pattern without flags; write them into it, for example (?i)")
        pattern = pattern.pattern
    if pattern is not None and not isinstance(pattern, str):
        raise TypeError(f"a pattern is a str or an re.Pattern of str, not {type(pattern).__name__}")
    if topics is None:
        return None, pattern
    names = (
        (topics,) if isinstance(topics, str) else tuple(dict.fromkeys(topics)) if isinstance(topics, Iterable) else None
    )
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"topics are a name, several names or a pattern, not {topics!r}")
    return names, pattern
