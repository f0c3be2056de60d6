"""Requests of every API and version, made from the fields' own metadata: fast, seeded, and nasty.

A new API needs nothing here: its messages say what their fields are. What a field's name says is used to come past the
first refusal (a partition is mostly one that exists); what the broker answered is used again (producer ids, session
ids, who is a member of which group: `Palette.learn`). The rest is drawn from the edges of what the kind can hold.

By construction no request can harm the honest client beside it: its topic's name and id are in no palette, and of the
settings that a whole broker can take only `BROKER_SETTINGS` are ever named. `num_partitions` and `count` are small or
refused, for ten thousand logs are a legal wish that takes a minute to fulfil.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from uuid import UUID

from tidelog.protocol.apis import APIS, KAFKA_APIS, Api, ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.fields import Kind, MessageField, fields_of
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tidelog.protocol.messages.sync_group import SyncGroupRequest
from tidelog.protocol.primitives import (
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    UINT16_MAX,
)
from tidelog.storage.config import ConfigError, LogConfig

from .batches import Batches

TOPICS = tuple(f"fuzz-{number}" for number in range(12))
"""The topics that exist at the beginning of a round."""
GROUPS = tuple(f"group-{number}" for number in range(16))
"""Groups that are asked for: few, so that strangers meet in them."""
OTHER_NAMES = (
    "",
    ".",
    "..",
    "fuzz.0",
    "fuzz_0",
    "missing",
    "made-up",
    "__cluster_metadata",
    "__consumer_offsets",
    "a b",
    "a/../b",
    "nul\x00nul",
    "line\nbreak\x1b[31m",
    "ünïcödé-ß-漢字-🎉",
    "x" * 249,
    "x" * 250,
    "x" * 32_767,
)
BROKER_SETTINGS = (
    *("log.cleanup.policy", "log.flush.interval.messages", "log.index.interval.bytes", "log.message.timestamp.type"),
    *("log.preallocate", "log.retention.bytes", "log.retention.ms", "log.roll.ms", "log.segment.bytes"),
    *("message.max.bytes", "no.such.setting", ""),
)
"""Those that hold for topics without a setting of their own. The honest client's topic has its own for each."""
SETTING_VALUES = (
    *("", "0", "1", "-1", "2147483647", "9223372036854775807", "99999999999999999999", "1e3", "NaN", "0x10", " 7 "),
    *("true", "false", "TRUE", "delete", "compact", "compact,delete", "gzip", "zstd", "producer", "LogAppendTime"),
    *("CreateTime", "1024", "65536", "1048576", "ünïcödé", "x" * 3000),
)
INTERESTING = (-1, 0, 0, 1, 1, 2, 3, 4, 7, 10, 100)
RANGES = {
    Kind.INT8: (INT8_MIN, INT8_MAX),
    Kind.INT16: (INT16_MIN, INT16_MAX),
    Kind.UINT16: (0, UINT16_MAX),
    Kind.INT32: (INT32_MIN, INT32_MAX),
    Kind.INT64: (INT64_MIN, INT64_MAX),
    Kind.ERROR: (INT16_MIN, INT16_MAX),
}
EPOCHS = (-1, -1, -1, -1, 0, 0, 1, 2, INT32_MAX)
PARTITIONS = (*[0] * 9, *[1] * 6, 2, 3, -1, INT32_MAX)
SIZES = (1 << 20, 1 << 20, 1 << 16, 1000, 100, 1, 0, -1, INT32_MAX)
HINTS: Mapping[str, Sequence[int]] = {
    "acks": (*[-1] * 8, *[1] * 6, 0, 0, 2, -2),
    "broker_ids": (0, 1, 1, 1, 2, -1),
    "config_operation": (0, 0, 0, 1, 2, 3, 4, -1),
    "config_source": (0, 1, 4, 5),
    "count": (3, 3, 3, 4, 4, 5, 1, 2, 0, -1, INT32_MAX),
    "current_leader_epoch": EPOCHS,
    "endpoint_type": (1, 1, 1, 1, 2, 0),
    "fetch_offset": (0, 0, 0, 1, 2, 5, 20, 1000, -1, -2, INT64_MAX, INT64_MIN),
    "index": PARTITIONS,
    "isolation_level": (0, 0, 0, 1, 1, 2, -1),
    "last_fetched_epoch": EPOCHS,
    "leader_epoch": EPOCHS,
    "max_bytes": SIZES,
    "generation_id": (0, 1, 1, 2, 3, -1, INT32_MAX),
    "generation_id_or_member_epoch": (-1, -1, -1, 0, 1, 2, INT32_MAX),
    "max_wait_ms": (0, 0, 0, 1, 100, 500, 30_000, INT32_MAX, -1),
    "member_epoch": (0, 0, 0, 0, -1, -2, -3, 1, 2, INT32_MAX),
    "min_bytes": (0, 0, 1, 1, 1000, INT32_MAX, -1),
    "num_partitions": (1, 1, 1, 2, 3, -1, 0, INT32_MAX),
    "partition": PARTITIONS,
    "partition_id": PARTITIONS,
    "partition_index": PARTITIONS,
    "partition_indexes": PARTITIONS,
    "partition_max_bytes": SIZES,
    "partitions": PARTITIONS,
    "producer_epoch": (-1, -1, 0, 0, 0, 1, 2, INT16_MAX),
    "producer_id": (-1, -1, -1, 0, 1, 2, 3, 1000, INT64_MAX),
    "rebalance_timeout_ms": (0, 100, 1000, 60_000, 60_000, INT32_MAX, -1),
    "replica_id": (*[-1] * 20, 0, 1, -2, -3, INT32_MAX),
    "replicas": (0, 1, 1, 1, 2, -1),
    "replication_factor": (1, 1, 1, 1, -1, -1, 3, 0),
    "resource_type": (*[2] * 14, 4, 4, 4, 8, 16, 32, 0, 1, 3, 127, -1),
    "session_epoch": (-1, -1, -1, 0, 0, 0, 1, 1, 2, 3, INT32_MAX),
    "session_id": (*[0] * 9, 1, 2, -1, INT32_MAX),
    "session_timeout_ms": (6000, 6000, 10_000, 30_000, 30_000, 1_800_000, 0, INT32_MAX),
    "timeout_ms": (1000, 30_000, 0, 1, -1, INT32_MAX),
    "timestamp": (-1, -1, -2, -2, -3, -4, -5, 0, 1_700_000_000_000, INT64_MAX, INT64_MIN),
}
"""Numbers worth trying, by the field's name."""
TOPIC_FIELDS = frozenset(
    {"name", "topic", "topic_name", "topic_names", "topics", "resource_name", "subscribed_topic_names"}
)
WORDS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("group_id", "group_ids", "groups", "groups_names", "coordinator_keys", "key"), GROUPS),
    **dict.fromkeys(("group_instance_id", "instance_id"), ("pod-0", "pod-1", "pod-2")),
    "protocol_name": ("range", "range", "range", "roundrobin"),
    "protocol_type": ("consumer", "consumer", "consumer", "connect"),
    "server_assignor": ("uniform", "uniform", "range", "made-up"),
    "subscribed_topic_regex": ("fuzz-.*", "fuzz-1.?", ".*", "", "(", "(.*.*){100}x", "\\pL{1,500}", "a{1000}{1000}"),
}
"""Texts worth trying, by the field's name."""
NULL_RATES: Mapping[str, float] = {**dict.fromkeys(TOPIC_FIELDS, 0.1), "value": 0.1, "protocol_name": 0.3}
NULL_RATE_OF_TEXTS = 0.8
"""Most texts that may be null are a transactional id, an instance, a rack: seldom else than a reason to refuse."""
SAID_BY_CONSUMERS = (
    b"\x00\x00\x00\x00\x00\x01\x00\x06fuzz-0\xff\xff\xff\xff",
    b"\x00\x01\x00\x00\x00\x02\x00\x06fuzz-1\x00\x06fuzz-2\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x00\x00\x00\x00\x00\x01\x00\x06fuzz-0\x00\x00\x00\x01\x00\x00\x00\x00\xff\xff\xff\xff",
    b"\x00\x03\x7f\xff\xff\xff",
)
"""Two subscriptions, an assignment, and something that claims to be a subscription."""
LEARNT = frozenset({"session_id", "producer_id", "producer_epoch", "member_id", "member_epoch", "generation_id"})
"""Of an answer, if it has them, and what a request of the same name then says."""
NOTHING_LEARNT = (None, "", 0, -1)
GENERATIONS = ("generation_id", "member_epoch", "generation_id_or_member_epoch")
"""What a member has to know to be heard, by any of its names."""
MEMBERSHIP = (ErrorCode.NONE, ErrorCode.MEMBER_ID_REQUIRED)
"""The answers by which somebody becomes a member, or nearly so."""
WEIGHTS: Mapping[ApiKey, int] = {
    ApiKey.PRODUCE: 10,
    ApiKey.FETCH: 8,
    ApiKey.DELETE_TOPICS: 1,
    ApiKey.DELETE_GROUPS: 1,
    ApiKey.JOIN_GROUP: 6,
    ApiKey.SYNC_GROUP: 4,
    ApiKey.HEARTBEAT: 4,
    ApiKey.CONSUMER_GROUP_HEARTBEAT: 6,
}
WEIGHT = 2

Maker = Callable[[], object]


class Palette:
    """What is known of the world, and may be spoken of."""

    def __init__(self) -> None:
        self.topic_ids: list[UUID] = []
        self.known: dict[str, deque[object]] = {name: deque(maxlen=8) for name in LEARNT}
        self.members: deque[tuple[str, str, int]] = deque(maxlen=16)
        """Groups, members of theirs, and the generation or epoch that each was told."""

    def learn(self, answer: object, request: object = None) -> None:
        """What the broker has given out, and to whom."""
        for name, values in self.known.items():
            value = getattr(answer, name, None)
            if value not in NOTHING_LEARNT:
                values.append(value)
        group_id, member_id = getattr(request, "group_id", ""), getattr(answer, "member_id", "")
        generations = [getattr(answer, name) for name in GENERATIONS if hasattr(answer, name)]
        if group_id and member_id and generations and getattr(answer, "error_code", None) in MEMBERSHIP:
            self.members.append((group_id, member_id, *generations))


class Requests:
    """Makes requests of the served APIs."""

    def __init__(self, rng: random.Random, palette: Palette) -> None:
        self._rng = rng
        self._palette = palette
        self._batches = Batches(rng, palette.known["producer_id"])
        self._makers: dict[tuple[type, int], Maker] = {}
        self._kafkas = [api for api in KAFKA_APIS.values() for _ in range(WEIGHTS.get(api.key, WEIGHT))]
        self._all = [api for api in APIS.values() for _ in range(WEIGHTS.get(api.key, WEIGHT))]
        self._legal_settings = legal_settings()
        self._topic_settings = (*LogConfig().entries(), *BROKER_SETTINGS)

    def any(self, *, is_kafkas: bool) -> tuple[Api, int, object]:
        """A request of any API, or of one that Kafka has, too; the version it is for and the API."""
        rng = self._rng
        api = rng.choice(self._kafkas if is_kafkas else self._all)
        versions = api.versions
        version = versions.max if rng.random() < 0.3 else rng.randint(versions.min, versions.max)
        return api, version, self.of(api.request, version)

    def of(self, message: type, version: int) -> object:
        """A message of this class in this version: a request, or for those who want it an answer."""
        return self._maker(message, version)()

    def _maker(self, message: type, version: int) -> Maker:
        made = self._makers.get((message, version))
        if made is None:
            fields = [
                (field.name, self._field(message, field, version))
                for field in fields_of(message)
                if version in field.wire.versions
            ]

            names = {name for name, _ in fields}
            if "Config" in message.__name__ and {"name", "value"} <= names:
                made = self._setting(message, fields)
            elif {"group_id", "member_id"} <= names:
                made = self._membership(message, fields)
            else:

                def made() -> object:
                    return message(**{name: make() for name, make in fields})

            self._makers[message, version] = made
        return made

    def _setting(self, message: type, fields: list[tuple[str, Maker]]) -> Maker:
        """A setting and a value, which mostly goes with it."""
        rng = self._rng

        def make() -> object:
            values = {name: make() for name, make in fields}
            if rng.random() < 0.6:
                values["name"], values["value"] = rng.choice(self._legal_settings)
            return message(**values)

        return make

    def _membership(self, message: type, fields: list[tuple[str, Maker]]) -> Maker:
        """What a member says to its group: mostly one that there is."""
        rng, members = self._rng, self._palette.members

        def make() -> object:
            values = {name: make() for name, make in fields}
            if members and rng.random() < 0.7:
                values["group_id"], values["member_id"], generation = rng.choice(members)
                for name in GENERATIONS:
                    if name in values and rng.random() < 0.9:
                        values[name] = generation
            elif message is JoinGroupRequest and rng.random() < 0.9:
                values["member_id"] = ""
            if rng.random() < 0.5:
                self._make_plausible(message, values)
            return message(**values)

        return make

    def _make_plausible(self, message: type, values: dict[str, object]) -> None:
        """So that a group takes it, if the rest is right."""
        if message is JoinGroupRequest:
            values["protocol_type"], values["session_timeout_ms"] = "consumer", 30_000
            values["protocols"] = (JoinGroupRequestProtocol(name="range", metadata=self._octets()),)
        elif message is ConsumerGroupHeartbeatRequest:
            # A member that joins holds nothing yet, and says what it wants; or else it says nothing new.
            joins = values["member_epoch"] == 0
            values["topic_partitions"] = () if joins else None
            values["rebalance_timeout_ms"] = 60_000 if joins else -1
            values["subscribed_topic_names"] = tuple(self._rng.sample(TOPICS, 2)) if joins else None
        elif message is SyncGroupRequest:
            for name in values.keys() & {"protocol_type", "protocol_name"}:
                values[name] = "consumer" if name == "protocol_type" else "range"

    def _field(self, message: type, field: MessageField, version: int) -> Maker:
        wire, rng = field.wire, self._rng
        if wire.struct is not None:
            one = self._maker(wire.struct, version)
        else:
            one = self._scalar(message, field)
        if wire.is_array:
            one = self._array(field, one)
        if wire.tag is not None:
            always, default = one, field.default

            def one() -> object:
                return always() if rng.random() < 0.3 else default

        if not wire.is_nullable(version):
            return one
        value = one
        null_rate = NULL_RATES.get(field.name, NULL_RATE_OF_TEXTS) if wire.kind is Kind.STRING else 0.1
        return lambda: None if rng.random() < null_rate else value()

    def _array(self, field: MessageField, one: Maker) -> Maker:
        rng = self._rng
        # A manual assignment is refused beside a number of partitions: seldom both.
        counts = (0,) * 9 + (1, 2) if field.name == "assignments" else (0, 1, 1, 1, 1, 1, 1, 2, 2, 3)

        def make() -> object:
            count = rng.choice(counts) if rng.random() < 0.995 else 30
            return tuple([one() for _ in range(count)])

        return make

    def _scalar(self, message: type, field: MessageField) -> Maker:
        rng, kind, name = self._rng, field.wire.kind, field.name
        if kind is Kind.STRING:
            return self._text(message, name)
        if kind in RANGES:
            return self._number(name, *RANGES[kind])
        return {
            Kind.BOOLEAN: lambda: rng.random() < 0.5,
            Kind.FLOAT64: lambda: rng.choice((0.0, 1.0, -1.5, 1e308, float("inf"), float("nan"))),
            Kind.UUID: lambda: self._uuid(0.1 if "Delet" in message.__name__ else 0.8),
            Kind.BYTES: self._octets,
            Kind.RECORDS: self._batches.any,
        }[kind]

    def _octets(self) -> bytes:
        rng = self._rng
        return rng.choice(SAID_BY_CONSUMERS) if rng.random() < 0.5 else rng.randbytes(rng.choice((0, 1, 8, 40)))

    def _number(self, name: str, low: int, high: int) -> Maker:
        rng = self._rng
        hints = [value for value in HINTS.get(name, INTERESTING) if low <= value <= high]
        known = self._palette.known.get(name)

        def make() -> object:
            draw = rng.random()
            if known and draw < 0.4:
                return rng.choice(known)
            if draw < 0.98 or name in ("count", "num_partitions"):
                return rng.choice(hints)
            return rng.choice((low, high)) if draw < 0.99 else rng.randint(low, high)

        return make

    def _text(self, message: type, name: str) -> Maker:
        rng = self._rng
        known = self._palette.known.get(name)
        if "Config" in message.__name__ or "config" in name:
            likely: Sequence[str] = SETTING_VALUES if name == "value" else self._topic_settings
            if name == "resource_name":
                likely = (*TOPICS, "", "0", "1")
        elif name in WORDS or message is JoinGroupRequestProtocol:
            likely = WORDS.get(name, WORDS["protocol_name"])
        elif name in TOPIC_FIELDS:
            # Were all of them deleted all the time, nothing else would find one.
            likely = TOPICS[-3:] if "Delet" in message.__name__ else TOPICS
        else:
            likely = ("fuzzer", "group-1", "tx-1", "range", "PLAIN", *TOPICS[:2])

        def make() -> object:
            if known and rng.random() < 0.4:
                return rng.choice(known)
            return rng.choice(likely) if rng.random() < 0.93 else rng.choice(OTHER_NAMES)

        return make

    def _uuid(self, known_rate: float) -> object:
        draw, ids = self._rng.random(), self._palette.topic_ids
        if ids and draw < known_rate:
            return self._rng.choice(ids)
        return UUID(int=0) if draw < 0.95 else UUID(int=self._rng.getrandbits(128))


@cache
def legal_settings() -> Sequence[tuple[str, str]]:
    """Settings of topics with values that they may have; for each setting equally many."""
    found: list[tuple[str, str]] = []
    for name, default in LogConfig().entries().items():
        legal = []
        for value in (default, *SETTING_VALUES):
            try:
                LogConfig().with_overrides({name: value})
            except ConfigError:
                continue
            legal.append((name, value))
        found += [legal[number % len(legal)] for number in range(5)]
    return found
