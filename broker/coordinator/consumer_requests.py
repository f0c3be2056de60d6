"""Which ConsumerGroupHeartbeats make sense at all, before any group is looked at [C-1]."""

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest

OWN_MEMBER_ID = 1
"""The version from which on members bring their own member id (KIP-1082)."""
JOINS, LEAVES, LEAVES_FOR_A_WHILE = 0, -1, -2
NAME_BYTES_MAX = 32_767
"""Of ids, which stand in the keys of records: as long as Kafka's format can say."""
SUBSCRIPTION_CHARACTERS_MAX = 4 << 20
"""Of all names together, which stand in one record. Kafka has no bound but that of the record."""


def check_heartbeat(request: ConsumerGroupHeartbeatRequest, version: int, assignors: tuple[str, ...]) -> None:
    """Raises what is wrong with a request. `assignors`: those that may be chosen."""
    epoch = request.member_epoch
    if not request.member_id and (version >= OWN_MEMBER_ID or epoch > 0 or epoch == LEAVES):
        raise _invalid("MemberId can't be empty.")
    if not request.group_id:
        raise _invalid("GroupId can't be empty.")
    if request.instance_id == "":
        raise _invalid("InstanceId can't be empty.")
    if request.rack_id == "":
        raise _invalid("RackId can't be empty.")
    if epoch == JOINS:
        if request.rebalance_timeout_ms == -1:
            raise _invalid("RebalanceTimeoutMs must be provided in first request.")
        if request.topic_partitions is None or request.topic_partitions:
            raise _invalid("TopicPartitions must be empty when (re-)joining.")
        if request.subscribed_topic_names is None and request.subscribed_topic_regex is None:
            raise _invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
    elif epoch == LEAVES_FOR_A_WHILE:
        if request.instance_id is None:
            raise _invalid("InstanceId can't be null.")
    elif epoch < LEAVES_FOR_A_WHILE:
        raise _invalid("MemberEpoch is invalid.")
    if request.server_assignor is not None and request.server_assignor not in assignors:
        raise RequestRefused(
            ErrorCode.UNSUPPORTED_ASSIGNOR,
            f"ServerAssignor {request.server_assignor[:100]} is not supported. "
            f"Supported assignors: {', '.join(assignors)}.",
        )
    _check_lengths(request)


def _check_lengths(request: ConsumerGroupHeartbeatRequest) -> None:
    for text in (request.group_id, request.member_id, request.instance_id or "", request.rack_id or ""):
        if len(text) > NAME_BYTES_MAX // 4 and len(text.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
            raise _invalid(f"An id is longer than {NAME_BYTES_MAX} bytes.")
    names = request.subscribed_topic_names
    if names is not None and sum(map(len, names)) + len(names) > SUBSCRIPTION_CHARACTERS_MAX:
        raise _invalid("The subscription is too long.")


def _invalid(message: str) -> RequestRefused:
    return RequestRefused(ErrorCode.INVALID_REQUEST, message)
