"""Which heartbeats make sense [C-1]."""

from dataclasses import replace

import pytest

from tidelog.broker.coordinator.consumer_requests import (
    NAME_BYTES_MAX,
    SUBSCRIPTION_CHARACTERS_MAX,
    check_heartbeat,
)
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest, TopicPartitions

ASSIGNORS = ("uniform", "range")
JOIN = ConsumerGroupHeartbeatRequest(
    group_id="g",
    member_id="m",
    member_epoch=0,
    rebalance_timeout_ms=1,
    subscribed_topic_names=(),
    topic_partitions=(),
)


@pytest.mark.parametrize(
    ("request_", "version"),
    [
        (JOIN, 1),
        (replace(JOIN, member_id=""), 0),
        (replace(JOIN, subscribed_topic_names=None, subscribed_topic_regex=""), 1),
        (replace(JOIN, server_assignor="range"), 1),
        (ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=7), 1),
        (ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=-1), 1),
        (ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=-2, instance_id="i"), 1),
    ],
)
def test_what_makes_sense_passes(request_: ConsumerGroupHeartbeatRequest, version: int) -> None:
    check_heartbeat(request_, version, ASSIGNORS)


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({"member_id": ""}, 1),
        ({"member_id": "", "member_epoch": 1}, 0),
        ({"member_id": "", "member_epoch": -1}, 0),
        ({"group_id": ""}, 1),
        ({"instance_id": ""}, 1),
        ({"rack_id": ""}, 1),
        ({"rebalance_timeout_ms": -1}, 1),
        ({"topic_partitions": None}, 1),
        ({"topic_partitions": (TopicPartitions(),)}, 1),
        ({"subscribed_topic_names": None}, 1),
        ({"member_epoch": -2}, 1),
        ({"member_epoch": -3}, 1),
        ({"member_id": "m" * (NAME_BYTES_MAX + 1)}, 1),
        ({"group_id": "ü" * (NAME_BYTES_MAX // 2 + 1)}, 1),
        ({"subscribed_topic_names": ("x" * SUBSCRIPTION_CHARACTERS_MAX,)}, 1),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], version: int) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_heartbeat(replace(JOIN, **changes), version, ASSIGNORS)  # type: ignore[arg-type]
    assert refused.value.code is ErrorCode.INVALID_REQUEST
    assert refused.value.message


def test_an_assignor_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(RequestRefused, match=r"uniform, range") as refused:
        check_heartbeat(replace(JOIN, server_assignor="mine"), 1, ASSIGNORS)
    assert refused.value.code is ErrorCode.UNSUPPORTED_ASSIGNOR
