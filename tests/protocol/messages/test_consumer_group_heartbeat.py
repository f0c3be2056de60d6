"""ConsumerGroupHeartbeat: byte for byte what an independent codec writes, field by field Kafka's schema."""

from __future__ import annotations

import pytest

from support.oracles import assert_identical_with_the_oracle, assert_same_as_kafkas_schema, every_version
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)


@pytest.mark.parametrize(("message", "version"), every_version(ApiKey.CONSUMER_GROUP_HEARTBEAT))
def test_both_directions_are_byte_identical_with_the_oracle(message: type, version: int) -> None:
    assert_identical_with_the_oracle(message, version)


@pytest.mark.parametrize("message", [ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse])
def test_fields_types_defaults_and_versions_are_those_of_kafkas_schema(message: type) -> None:
    assert_same_as_kafkas_schema(message)
