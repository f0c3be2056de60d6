"""Both wires say the same: every message of Kafka that is defined travels on the tide wire too, served yet or not.

What Kafka has no word for travels on the tide wire alone.

The wires differ in one thing only. Kafka's newest version lacks fields that older ones have, such as a topic's name
beside its id; the tide wire, which has no versions, carries the fields of all of them.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given

from support.messages import a_header, as_of, examples, frame_of, instances, instances_of_all_versions
from tidelog.protocol.apis import DEFINED, DEFINED_BY_NAME, Api, ApiKey
from tidelog.protocol.errors import NotServed
from tidelog.protocol.fields import fields_of
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.offset_commit import OffsetCommitRequest, OffsetCommitRequestTopic
from tidelog.protocol.tide_wire import TideWire

KAFKA, TIDE = KafkaWire(DEFINED), TideWire(DEFINED_BY_NAME)
KAFKAS = [api for api in DEFINED.values() if api.is_kafkas]
OUR_OWN = [api for api in DEFINED.values() if not api.is_kafkas]
each_api = pytest.mark.parametrize("api", KAFKAS, ids=lambda api: api.name)
each_of_our_own = pytest.mark.parametrize("api", OUR_OWN, ids=lambda api: api.name)


@each_api
def test_any_request_means_the_same_on_both_wires(api: Api) -> None:
    header = a_header(api)

    @examples(6)
    @given(request=instances_of_all_versions(api.request, api.versions.max))
    def check(request: object) -> None:
        by_tide = TIDE.decode_request(frame_of(TIDE.encode_request(header, request)))
        by_kafka = KAFKA.decode_request(frame_of(KAFKA.encode_request(header, request)))
        assert by_tide.header == by_kafka.header == header
        assert by_tide.body == request
        assert by_kafka.body == as_of(request, api.versions.max)

    check()


@each_api
def test_any_response_means_the_same_on_both_wires(api: Api) -> None:
    header = a_header(api)

    @examples(6)
    @given(response=instances_of_all_versions(api.response, api.versions.max))
    def check(response: object) -> None:
        by_tide = TIDE.decode_response(header, frame_of(TIDE.encode_response(header, response)))
        by_kafka = KAFKA.decode_response(header, frame_of(KAFKA.encode_response(header, response)))
        assert by_tide == response
        assert by_kafka == as_of(response, api.versions.max)

    check()


@each_of_our_own
def test_what_kafka_does_not_know_travels_on_the_tide_wire(api: Api) -> None:
    header = a_header(api)

    @examples(15)
    @given(request=instances(api.request, api.versions.max), response=instances(api.response, api.versions.max))
    def check(request: object, response: object) -> None:
        received = TIDE.decode_request(frame_of(TIDE.encode_request(header, request)))
        assert received.header == header
        assert received.body == request
        assert TIDE.decode_response(header, frame_of(TIDE.encode_response(header, response))) == response

    check()


@each_of_our_own
def test_on_the_kafka_wire_it_is_like_a_key_that_nobody_knows(api: Api) -> None:
    """Even on a wire that was told to know everything."""
    unknown = struct.pack(">hhih", -1, 0, 7, -1)
    known = struct.pack(">hhih", api.key, 0, 7, -1)
    for wire in (KAFKA, KafkaWire()):
        for request in (unknown, known):
            with pytest.raises(NotServed):
                wire.decode_request(memoryview(bytearray(request)))
        with pytest.raises(NotServed):
            wire.decode_request(frame_of(wire.encode_request(a_header(api), api.request())))


def test_the_difference_is_what_the_newest_version_lacks() -> None:
    newest = DEFINED[ApiKey.OFFSET_COMMIT].versions.max
    lost = [field.name for field in fields_of(OffsetCommitRequest) if newest not in field.wire.versions]
    assert lost == ["retention_time_ms"]
    topic = OffsetCommitRequestTopic(name="orders")
    request = OffsetCommitRequest(group_id="g", retention_time_ms=5, topics=(topic,))
    assert as_of(request, newest) == OffsetCommitRequest(group_id="g", topics=(OffsetCommitRequestTopic(),))
    assert as_of(request, 4) == request
