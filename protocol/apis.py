"""The table of APIs: key, versions, and by them the messages. An API is added by one row and one file of messages.

A row's key says the rest: INIT_PRODUCER_ID is called "InitProducerId", and its messages are `InitProducerIdRequest` and
`InitProducerIdResponse` in `messages/init_producer_id.py`. That file is imported when it is first asked for, because
some hundred message classes cost more than the rest of a start.

`versions` is what is served. `advertised_min` may be lower: Produce 0-2 are advertised though refused, because older
librdkafka switches compression off when the range does not begin at 0 (KAFKA-18659).

What Kafka's protocol has no word for are APIs of our own, offered on the tide wire only. Their keys are negative, which
no key of Kafka's will ever be; the Kafka wire neither knows nor advertises them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib import import_module
from types import MappingProxyType

from .fields import VersionRange


class ApiKey(IntEnum):
    """Kafka's numbers of the APIs that clients use; below zero, numbers of our own."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    WRITE_TXN_MARKERS = 27
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_ACLS = 29
    CREATE_ACLS = 30
    DELETE_ACLS = 31
    DESCRIBE_CONFIGS = 32
    ALTER_CONFIGS = 33
    ALTER_REPLICA_LOG_DIRS = 34
    DESCRIBE_LOG_DIRS = 35
    SASL_AUTHENTICATE = 36
    CREATE_PARTITIONS = 37
    CREATE_DELEGATION_TOKEN = 38
    RENEW_DELEGATION_TOKEN = 39
    EXPIRE_DELEGATION_TOKEN = 40
    DESCRIBE_DELEGATION_TOKEN = 41
    DELETE_GROUPS = 42
    ELECT_LEADERS = 43
    INCREMENTAL_ALTER_CONFIGS = 44
    ALTER_PARTITION_REASSIGNMENTS = 45
    LIST_PARTITION_REASSIGNMENTS = 46
    OFFSET_DELETE = 47
    DESCRIBE_CLIENT_QUOTAS = 48
    ALTER_CLIENT_QUOTAS = 49
    DESCRIBE_USER_SCRAM_CREDENTIALS = 50
    ALTER_USER_SCRAM_CREDENTIALS = 51
    DESCRIBE_QUORUM = 55
    UPDATE_FEATURES = 57
    DESCRIBE_CLUSTER = 60
    DESCRIBE_PRODUCERS = 61
    DESCRIBE_TRANSACTIONS = 65
    LIST_TRANSACTIONS = 66
    CONSUMER_GROUP_HEARTBEAT = 68
    CONSUMER_GROUP_DESCRIBE = 69
    GET_TELEMETRY_SUBSCRIPTIONS = 71
    PUSH_TELEMETRY = 72
    LIST_CONFIG_RESOURCES = 74
    DESCRIBE_TOPIC_PARTITIONS = 75
    SHARE_GROUP_HEARTBEAT = 76
    SHARE_GROUP_DESCRIBE = 77
    SHARE_FETCH = 78
    SHARE_ACKNOWLEDGE = 79
    STREAMS_GROUP_HEARTBEAT = 88
    STREAMS_GROUP_DESCRIBE = 89
    DESCRIBE_SHARE_GROUP_OFFSETS = 90
    ALTER_SHARE_GROUP_OFFSETS = 91
    DELETE_SHARE_GROUP_OFFSETS = 92
    DESCRIBE_LAG = -1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API."""

    key: ApiKey
    name: str
    """As in Kafka's documentation: "ListOffsets"; the tide wire calls APIs by it."""
    versions: VersionRange
    """Which versions are served, or will be."""
    advertised_min: int
    """From which version on it claims to be served."""
    flexible_from: int | None
    """The first version with compact lengths and tagged fields (KIP-482)."""

    @property
    def is_kafkas(self) -> bool:
        """Whether Kafka has it, too; all others are for the tide wire only."""
        return self.key >= 0

    @property
    def request(self) -> type:
        """The class of its requests."""
        return _message(self.key, f"{self.name}Request")

    @property
    def response(self) -> type:
        """The class of its responses."""
        return _message(self.key, f"{self.name}Response")

    def is_flexible(self, version: int) -> bool:
        """Whether this version has compact lengths and tagged fields."""
        return self.flexible_from is not None and version >= self.flexible_from


@cache
def _message(key: ApiKey, name: str) -> type:
    message: type = getattr(import_module(f".messages.{key.name.lower()}", __package__), name)
    return message


def _row(
    key: ApiKey, versions: str, *, flexible_from: int | None = None, advertised_min: int | None = None
) -> tuple[ApiKey, Api]:
    served = VersionRange.parse(versions)
    api = Api(
        key=key,
        name=key.name.title().replace("_", ""),
        versions=served,
        advertised_min=served.min if advertised_min is None else advertised_min,
        flexible_from=flexible_from,
    )
    return key, api


_ROWS = (
    _row(ApiKey.PRODUCE, "3-13", flexible_from=9, advertised_min=0),
    _row(ApiKey.FETCH, "4-18", flexible_from=12),
    _row(ApiKey.LIST_OFFSETS, "1-11", flexible_from=6),
    _row(ApiKey.METADATA, "0-13", flexible_from=9),
    _row(ApiKey.API_VERSIONS, "0-4", flexible_from=3),
    _row(ApiKey.CREATE_TOPICS, "0-7", flexible_from=5),
    _row(ApiKey.DELETE_TOPICS, "0-6", flexible_from=4),
    _row(ApiKey.INIT_PRODUCER_ID, "0-5", flexible_from=2),
    _row(ApiKey.OFFSET_FOR_LEADER_EPOCH, "2-4", flexible_from=4),
    _row(ApiKey.DESCRIBE_CONFIGS, "1-4", flexible_from=4),
    _row(ApiKey.ALTER_CONFIGS, "0-2", flexible_from=2),
    _row(ApiKey.DESCRIBE_LOG_DIRS, "1-5", flexible_from=2),
    _row(ApiKey.CREATE_PARTITIONS, "0-3", flexible_from=2),
    _row(ApiKey.ELECT_LEADERS, "0-2", flexible_from=2),
    _row(ApiKey.INCREMENTAL_ALTER_CONFIGS, "0-1", flexible_from=1),
    _row(ApiKey.ALTER_PARTITION_REASSIGNMENTS, "0-1", flexible_from=0),
    _row(ApiKey.LIST_PARTITION_REASSIGNMENTS, "0", flexible_from=0),
    _row(ApiKey.DESCRIBE_QUORUM, "0-2", flexible_from=0),
    _row(ApiKey.UPDATE_FEATURES, "0-2", flexible_from=0),
    _row(ApiKey.DESCRIBE_CLUSTER, "0-2", flexible_from=0),
    _row(ApiKey.LIST_CONFIG_RESOURCES, "0-1", flexible_from=0),
    _row(ApiKey.DESCRIBE_TOPIC_PARTITIONS, "0", flexible_from=0),
    _row(ApiKey.OFFSET_COMMIT, "2-10", flexible_from=8),
    _row(ApiKey.OFFSET_FETCH, "1-10", flexible_from=6),
    _row(ApiKey.FIND_COORDINATOR, "0-6", flexible_from=3),
    _row(ApiKey.JOIN_GROUP, "0-9", flexible_from=6),
    _row(ApiKey.HEARTBEAT, "0-4", flexible_from=4),
    _row(ApiKey.LEAVE_GROUP, "0-5", flexible_from=4),
    _row(ApiKey.SYNC_GROUP, "0-5", flexible_from=4),
    _row(ApiKey.DESCRIBE_GROUPS, "0-6", flexible_from=5),
    _row(ApiKey.LIST_GROUPS, "0-5", flexible_from=3),
    _row(ApiKey.DELETE_GROUPS, "0-2", flexible_from=2),
    _row(ApiKey.OFFSET_DELETE, "0"),
    _row(ApiKey.CONSUMER_GROUP_HEARTBEAT, "0-1", flexible_from=0),
    _row(ApiKey.CONSUMER_GROUP_DESCRIBE, "0-1", flexible_from=0),
    _row(ApiKey.DESCRIBE_LAG, "0"),
)
"""What is served: an API whose handler exists."""

_UNSERVED = (
    _row(ApiKey.SASL_HANDSHAKE, "0-1"),
    _row(ApiKey.DELETE_RECORDS, "0-2", flexible_from=2),
    _row(ApiKey.ADD_PARTITIONS_TO_TXN, "0-5", flexible_from=3),
    _row(ApiKey.ADD_OFFSETS_TO_TXN, "0-4", flexible_from=3),
    _row(ApiKey.END_TXN, "0-5", flexible_from=3),
    _row(ApiKey.WRITE_TXN_MARKERS, "1-2", flexible_from=1),
    _row(ApiKey.TXN_OFFSET_COMMIT, "0-5", flexible_from=3),
    _row(ApiKey.DESCRIBE_ACLS, "1-3", flexible_from=2),
    _row(ApiKey.CREATE_ACLS, "1-3", flexible_from=2),
    _row(ApiKey.DELETE_ACLS, "1-3", flexible_from=2),
    _row(ApiKey.ALTER_REPLICA_LOG_DIRS, "1-2", flexible_from=2),
    _row(ApiKey.SASL_AUTHENTICATE, "0-2", flexible_from=2),
    _row(ApiKey.CREATE_DELEGATION_TOKEN, "1-3", flexible_from=2),
    _row(ApiKey.RENEW_DELEGATION_TOKEN, "1-2", flexible_from=2),
    _row(ApiKey.EXPIRE_DELEGATION_TOKEN, "1-2", flexible_from=2),
    _row(ApiKey.DESCRIBE_DELEGATION_TOKEN, "1-3", flexible_from=2),
    _row(ApiKey.DESCRIBE_CLIENT_QUOTAS, "0-1", flexible_from=1),
    _row(ApiKey.ALTER_CLIENT_QUOTAS, "0-1", flexible_from=1),
    _row(ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS, "0", flexible_from=0),
    _row(ApiKey.ALTER_USER_SCRAM_CREDENTIALS, "0", flexible_from=0),
    _row(ApiKey.DESCRIBE_PRODUCERS, "0", flexible_from=0),
    _row(ApiKey.DESCRIBE_TRANSACTIONS, "0", flexible_from=0),
    _row(ApiKey.LIST_TRANSACTIONS, "0-2", flexible_from=0),
    _row(ApiKey.GET_TELEMETRY_SUBSCRIPTIONS, "0", flexible_from=0),
    _row(ApiKey.PUSH_TELEMETRY, "0", flexible_from=0),
    _row(ApiKey.SHARE_GROUP_HEARTBEAT, "1", flexible_from=0),
    _row(ApiKey.SHARE_GROUP_DESCRIBE, "1", flexible_from=0),
    _row(ApiKey.SHARE_FETCH, "1-2", flexible_from=0),
    _row(ApiKey.SHARE_ACKNOWLEDGE, "1-2", flexible_from=0),
    _row(ApiKey.STREAMS_GROUP_HEARTBEAT, "0", flexible_from=0),
    _row(ApiKey.STREAMS_GROUP_DESCRIBE, "0", flexible_from=0),
    _row(ApiKey.DESCRIBE_SHARE_GROUP_OFFSETS, "0-1", flexible_from=0),
    _row(ApiKey.ALTER_SHARE_GROUP_OFFSETS, "0", flexible_from=0),
    _row(ApiKey.DELETE_SHARE_GROUP_OFFSETS, "0", flexible_from=0),
)
"""What has messages and no handler yet."""

APIS: Mapping[ApiKey, Api] = MappingProxyType(dict(_ROWS))
"""What is served."""
KAFKA_APIS: Mapping[ApiKey, Api] = MappingProxyType({key: api for key, api in APIS.items() if api.is_kafkas})
"""What of it is served on the Kafka wire, too, and advertised."""
BY_NAME: Mapping[str, Api] = MappingProxyType({api.name: api for api in APIS.values()})
"""What is served, as the tide wire calls it."""
DEFINED: Mapping[ApiKey, Api] = MappingProxyType(dict(_ROWS + _UNSERVED))
"""Every API of which there are messages."""
DEFINED_BY_NAME: Mapping[str, Api] = MappingProxyType({api.name: api for api in DEFINED.values()})


def api_of(message: type) -> Api:
    """The API of which a class is the request or the response; it need not be served."""
    return DEFINED_BY_NAME[message.__name__.removesuffix("Request").removesuffix("Response")]
