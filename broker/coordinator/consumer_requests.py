"""What ConsumerGroupHeartbeats say, and which make sense: at all [C-1], and of a member [C-2]."""

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from .consumer_members import Member
from .decision import Caller
from .group_records import ConsumerMemberValue
from .reconciliation import holds_only

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


def is_full(request: ConsumerGroupHeartbeatRequest) -> bool:
    """Whether the member says all that it can say: it does so after an error, when it may have missed an answer."""
    return (
        request.rebalance_timeout_ms != -1
        and (request.subscribed_topic_names is not None or request.subscribed_topic_regex is not None)
        and request.topic_partitions is not None
    )


def check_epoch(member: Member, request: ConsumerGroupHeartbeatRequest) -> None:
    """Raises FENCED_MEMBER_EPOCH unless it knows its epoch, or an answer may have got lost [C-2]."""
    epoch, current = request.member_epoch, member.current
    if epoch == current.member_epoch:
        return
    if (
        epoch < current.member_epoch
        and epoch == current.previous_epoch
        and holds_only(request.topic_partitions, current.assigned)
    ):
        return
    than = "greater" if epoch > current.member_epoch else "smaller"
    raise RequestRefused(
        ErrorCode.FENCED_MEMBER_EPOCH,
        f"The consumer group member has a {than} member epoch ({epoch}) than the one known by the group coordinator "
        f"({current.member_epoch}). The member must abandon all its partitions and rejoin.",
    )


def updated_value(
    value: ConsumerMemberValue, request: ConsumerGroupHeartbeatRequest, caller: Caller
) -> ConsumerMemberValue:
    """What the member says of itself now; what it does not say is as before."""
    names, regex = request.subscribed_topic_names, request.subscribed_topic_regex
    timeout_ms = request.rebalance_timeout_ms
    return ConsumerMemberValue(
        instance_id=value.instance_id if request.instance_id is None else request.instance_id,
        rack_id=value.rack_id if request.rack_id is None else request.rack_id,
        client_id=caller.client_id,
        client_host=caller.host,
        subscribed_topics=value.subscribed_topics if names is None else tuple(sorted(set(names))),
        subscribed_regex=value.subscribed_regex if regex is None else regex or None,
        rebalance_timeout_ms=value.rebalance_timeout_ms if timeout_ms == -1 else timeout_ms,
        server_assignor=value.server_assignor if request.server_assignor is None else request.server_assignor,
        classic=None,
    )
