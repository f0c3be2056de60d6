"""Every Kafka error code, and the few exceptions of this folder.

Exceptions are grouped by the moment they happen: `ProtocolError` and its kin when bytes from outside are not what they
claim (the connection is closed, because nothing that follows can be trusted), `RequestRefused` when a well-formed
request is answered with a code. Codes are Kafka's numbers and are never reused.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ErrorCode(IntEnum):
    """What a response says about a request, a topic or a partition."""

    description: str
    """What happened, in prose."""
    retriable: bool
    """The same request may succeed later without anybody changing anything."""

    def __new__(cls, number: int, description: str = "", retriable: bool = False) -> Self:  # noqa: FBT002
        """A member with its number, prose and whether a retry may help."""
        code = int.__new__(cls, number)
        code._value_ = number
        code.description = description
        code.retriable = retriable
        return code

    UNKNOWN_SERVER_ERROR = -1, "The server met an error that it did not expect."
    NONE = 0, "No error."
    OFFSET_OUT_OF_RANGE = 1, "The offset lies outside what the partition holds."
    CORRUPT_MESSAGE = 2, "The records fail their checksum, are too short, or are otherwise damaged.", True
    UNKNOWN_TOPIC_OR_PARTITION = 3, "This server has no such topic or partition.", True
    INVALID_FETCH_SIZE = 4, "The fetch size is not a legal one."
    LEADER_NOT_AVAILABLE = 5, "The partition has no leader at the moment.", True
    NOT_LEADER_OR_FOLLOWER = 6, "This broker does not lead the partition, or holds no replica of it.", True
    REQUEST_TIMED_OUT = 7, "The request took longer than it was given.", True
    BROKER_NOT_AVAILABLE = 8, "The broker is not available."
    REPLICA_NOT_AVAILABLE = 9, "The replica of the partition is not available.", True
    MESSAGE_TOO_LARGE = 10, "The record batch is larger than the topic's max.message.bytes."
    STALE_CONTROLLER_EPOCH = 11, "The controller has moved to another broker."
    OFFSET_METADATA_TOO_LARGE = 12, "The metadata string of a committed offset is too long."
    NETWORK_EXCEPTION = 13, "The connection broke before a response arrived.", True
    COORDINATOR_LOAD_IN_PROGRESS = 14, "The coordinator is still reading its state.", True
    COORDINATOR_NOT_AVAILABLE = 15, "There is no coordinator at the moment.", True
    NOT_COORDINATOR = 16, "Another broker is the coordinator.", True
    INVALID_TOPIC_EXCEPTION = 17, "The topic's name is illegal, or the topic does not allow the operation."
    RECORD_LIST_TOO_LARGE = 18, "The record batch is larger than a segment may be."
    NOT_ENOUGH_REPLICAS = 19, "Fewer replicas are in sync than the topic requires; nothing was written.", True
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, "Written, but to fewer in-sync replicas than required.", True
    INVALID_REQUIRED_ACKS = 21, "acks must be 0, 1 or -1 (all)."
    ILLEGAL_GENERATION = 22, "The group is in another generation."
    INCONSISTENT_GROUP_PROTOCOL = 23, "The member shares no protocol with the other members of the group."
    INVALID_GROUP_ID = 24, "The group id is not legal."
    UNKNOWN_MEMBER_ID = 25, "The coordinator does not know this member."
    INVALID_SESSION_TIMEOUT = 26, "The session timeout lies outside what the broker allows."
    REBALANCE_IN_PROGRESS = 27, "The group is rebalancing; join it again."
    INVALID_COMMIT_OFFSET_SIZE = 28, "The committed offset is too large."
    TOPIC_AUTHORIZATION_FAILED = 29, "Not authorised for the topic."
    GROUP_AUTHORIZATION_FAILED = 30, "Not authorised for the group."
    CLUSTER_AUTHORIZATION_FAILED = 31, "Not authorised for the cluster."
    INVALID_TIMESTAMP = 32, "A record's timestamp is outside the accepted range or of the wrong type."
    UNSUPPORTED_SASL_MECHANISM = 33, "The broker does not offer this SASL mechanism."
    ILLEGAL_SASL_STATE = 34, "The request does not fit the state of the authentication."
    UNSUPPORTED_VERSION = 35, "The broker does not serve this version of the API."
    TOPIC_ALREADY_EXISTS = 36, "A topic of this name exists."
    INVALID_PARTITIONS = 37, "The number of partitions is not legal here."
    INVALID_REPLICATION_FACTOR = 38, "The replication factor is below 1 or above the number of brokers."
    INVALID_REPLICA_ASSIGNMENT = 39, "The replica assignment is not legal."
    INVALID_CONFIG = 40, "A setting is unknown or its value is not legal."
    NOT_CONTROLLER = 41, "Another broker is the controller.", True
    INVALID_REQUEST = 42, "The request contradicts itself or the protocol."
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, "The broker's message format does not support the request."
    POLICY_VIOLATION = 44, "A policy of the broker or the topic forbids the request."
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45, "The batch's sequence number does not follow the last one."
    DUPLICATE_SEQUENCE_NUMBER = 46, "The batch's sequence number was used before."
    INVALID_PRODUCER_EPOCH = 47, "The producer's epoch is an old one."
    INVALID_TXN_STATE = 48, "The transaction's state does not allow the operation."
    INVALID_PRODUCER_ID_MAPPING = 49, "The producer id does not belong to the transactional id."
    INVALID_TRANSACTION_TIMEOUT = 50, "The transaction timeout is larger than the broker allows."
    CONCURRENT_TRANSACTIONS = 51, "Another operation on the same transaction is still under way.", True
    TRANSACTION_COORDINATOR_FENCED = 52, "A newer coordinator has taken over the transaction."
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53, "Not authorised for the transactional id."
    SECURITY_DISABLED = 54, "Security is switched off."
    OPERATION_NOT_ATTEMPTED = 55, "Not tried, because another operation of the same request failed."
    KAFKA_STORAGE_ERROR = 56, "The disk that holds the partition fails.", True
    LOG_DIR_NOT_FOUND = 57, "The broker has no such log directory."
    SASL_AUTHENTICATION_FAILED = 58, "The credentials were not accepted."
    UNKNOWN_PRODUCER_ID = 59, "Nothing is known of this producer id; its records may have expired."
    REASSIGNMENT_IN_PROGRESS = 60, "The partition is being reassigned."
    DELEGATION_TOKEN_AUTH_DISABLED = 61, "Delegation tokens are switched off."
    DELEGATION_TOKEN_NOT_FOUND = 62, "The server has no such delegation token."
    DELEGATION_TOKEN_OWNER_MISMATCH = 63, "The principal neither owns nor may renew the token."
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64, "Token requests are not allowed over this kind of connection."
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65, "Not authorised for the delegation token."
    DELEGATION_TOKEN_EXPIRED = 66, "The delegation token has expired."
    INVALID_PRINCIPAL_TYPE = 67, "The type of the principal is not supported."
    NON_EMPTY_GROUP = 68, "The group has members."
    GROUP_ID_NOT_FOUND = 69, "There is no such group."
    FETCH_SESSION_ID_NOT_FOUND = 70, "There is no such fetch session.", True
    INVALID_FETCH_SESSION_EPOCH = 71, "The fetch session is at another epoch.", True
    LISTENER_NOT_FOUND = 72, "The leader has no listener of the name that was dialled.", True
    TOPIC_DELETION_DISABLED = 73, "Topics may not be deleted here."
    FENCED_LEADER_EPOCH = 74, "The request's leader epoch is older than the broker's.", True
    UNKNOWN_LEADER_EPOCH = 75, "The request's leader epoch is newer than the broker's.", True
    UNSUPPORTED_COMPRESSION_TYPE = 76, "This version of the request cannot carry that compression."
    STALE_BROKER_EPOCH = 77, "The broker's epoch has changed."
    OFFSET_NOT_AVAILABLE = 78, "The new leader cannot tell offsets yet.", True
    MEMBER_ID_REQUIRED = 79, "Join again with the member id in this answer."
    PREFERRED_LEADER_NOT_AVAILABLE = 80, "The preferred leader is not available.", True
    GROUP_MAX_SIZE_REACHED = 81, "The group has as many members as it may have."
    FENCED_INSTANCE_ID = 82, "Another member has taken over this group.instance.id."
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, "No replica that may lead is available.", True
    ELECTION_NOT_NEEDED = 84, "The partition needs no election.", True
    NO_REASSIGNMENT_IN_PROGRESS = 85, "The partition is not being reassigned."
    GROUP_SUBSCRIBED_TO_TOPIC = 86, "The group is subscribed to the topic whose offsets should go."
    INVALID_RECORD = 87, "A record or its batch breaks a rule."
    UNSTABLE_OFFSET_COMMIT = 88, "A transaction has offsets pending for the partition.", True
    THROTTLING_QUOTA_EXCEEDED = 89, "A quota is used up.", True
    PRODUCER_FENCED = 90, "A newer producer has the same transactional id."
    RESOURCE_NOT_FOUND = 91, "The request names something that does not exist."
    DUPLICATE_RESOURCE = 92, "The request names the same thing twice."
    UNACCEPTABLE_CREDENTIAL = 93, "The credential does not meet the rules for credentials."
    INCONSISTENT_VOTER_SET = 94, "Sender or receiver is not one of the expected voters."
    INVALID_UPDATE_VERSION = 95, "The update's version is not legal."
    FEATURE_UPDATE_FAILED = 96, "The features could not be updated."
    PRINCIPAL_DESERIALIZATION_FAILURE = 97, "The forwarded principal could not be read."
    SNAPSHOT_NOT_FOUND = 98, "There is no such snapshot."
    POSITION_OUT_OF_RANGE = 99, "The position lies outside the snapshot."
    UNKNOWN_TOPIC_ID = 100, "This server has no topic with this id.", True
    DUPLICATE_BROKER_REGISTRATION = 101, "Another broker uses this id."
    BROKER_ID_NOT_REGISTERED = 102, "No broker with this id is registered."
    INCONSISTENT_TOPIC_ID = 103, "The topic of this name has another id.", True
    INCONSISTENT_CLUSTER_ID = 104, "The server belongs to another cluster."
    TRANSACTIONAL_ID_NOT_FOUND = 105, "There is no such transactional id."
    FETCH_SESSION_TOPIC_ID_ERROR = 106, "The fetch session mixes topic names and topic ids.", True
    INELIGIBLE_REPLICA = 107, "A replica that may not be in sync was proposed as in sync."
    NEW_LEADER_ELECTED = 108, "The partition's state was changed, and so was its leader."
    OFFSET_MOVED_TO_TIERED_STORAGE = 109, "The offset is held by the remote tier."
    FENCED_MEMBER_EPOCH = 110, "The member's epoch is fenced: it must give up its partitions and join again."
    UNRELEASED_INSTANCE_ID = 111, "Another member still uses the instance id."
    UNSUPPORTED_ASSIGNOR = 112, "The group does not support the assignor."
    STALE_MEMBER_EPOCH = 113, "The member's epoch is stale; a heartbeat brings the new one."
    MISMATCHED_ENDPOINT_TYPE = 114, "The request went to the wrong type of endpoint."
    UNSUPPORTED_ENDPOINT_TYPE = 115, "The endpoint type is not supported."
    UNKNOWN_CONTROLLER_ID = 116, "There is no such controller."
    UNKNOWN_SUBSCRIPTION_ID = 117, "The telemetry subscription is unknown or outdated."
    TELEMETRY_TOO_LARGE = 118, "The pushed telemetry is larger than the broker accepts."
    INVALID_REGISTRATION = 119, "The controller refuses the broker's registration."
    TRANSACTION_ABORTABLE = 120, "The transaction must be aborted; the producer may then go on."
    INVALID_RECORD_STATE = 121, "The record is not in a state that can be acknowledged so."
    SHARE_SESSION_NOT_FOUND = 122, "There is no such share session.", True
    INVALID_SHARE_SESSION_EPOCH = 123, "The share session is at another epoch.", True
    FENCED_STATE_EPOCH = 124, "The share group's state is at another epoch."
    INVALID_VOTER_KEY = 125, "The voter's key is not the receiver's."
    DUPLICATE_VOTER = 126, "The voter is already one."
    VOTER_NOT_FOUND = 127, "There is no such voter."
    INVALID_REGULAR_EXPRESSION = 128, "The regular expression is not legal."
    REBOOTSTRAP_REQUIRED = 129, "The client's metadata is too old; it should start from its bootstrap servers."
    STREAMS_INVALID_TOPOLOGY = 130, "The topology is not legal."
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131, "The topology's epoch is not legal."
    STREAMS_TOPOLOGY_FENCED = 132, "The topology's epoch is outdated."
    SHARE_SESSION_LIMIT_REACHED = 133, "There are as many share sessions as there may be.", True

    @classmethod
    def of(cls, number: int) -> ErrorCode:
        """The code of this number; UNKNOWN_SERVER_ERROR for a number that no version of Kafka known here uses."""
        try:
            return cls(number)
        except ValueError:
            return cls.UNKNOWN_SERVER_ERROR


class ProtocolError(Exception):
    """Bytes from outside that are not what they claim to be; the connection is closed."""


class MalformedMessage(ProtocolError):
    """A frame, header or message that cannot be read: cut short, too long, or not of the announced shape."""


class FrameTooLarge(ProtocolError):
    """A frame that announces more bytes than the receiver takes."""


class NotServed(ProtocolError):
    """A request that may well make sense, to somebody else."""


class UnsupportedVersion(NotServed):
    """A request for an API that is known, in a version that is not served.

    `header` is the request's `wire.RequestHeader`: ApiVersions must be answered nevertheless (KIP-511).
    """

    def __init__(self, api_key: int, version: int, header: object = None, *, client_id: str | None = None) -> None:
        super().__init__(f"version {version} of API {api_key} is not served (client id {client_id!r})")
        self.api_key = api_key
        self.version = version
        self.header = header


class CorruptBatch(ProtocolError):
    """A record batch whose header, checksum or records lie."""


class DecompressionFailed(ProtocolError):
    """Compressed records that their codec cannot read."""


class InflatedTooLarge(ProtocolError):
    """Compressed records that would inflate beyond what the receiver allows."""


class RequestRefused(Exception):
    """A request that is understood and answered with an error code."""

    def __init__(self, code: ErrorCode, message: str = "") -> None:
        super().__init__(f"{code.name}: {message}" if message else code.name)
        self.code = code
        self.message = message
