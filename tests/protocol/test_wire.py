"""Both wires keep the promises of `Wire`, for every API that they know."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

from support.messages import a_header, examples, frame_of, instances
from tidelog.protocol.apis import APIS, KAFKA_APIS, Api
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.tide_wire import TideWire
from tidelog.protocol.wire import Wire

WIRES: list[Wire] = [KafkaWire(), TideWire()]
each_api = pytest.mark.parametrize("api", KAFKA_APIS.values(), ids=lambda api: api.name)
each_spoken = pytest.mark.parametrize(
    ("wire", "api"),
    [(wire, api) for wire in WIRES for api in (KAFKA_APIS if wire.name == "kafka" else APIS).values()],
    ids=lambda value: value.name,
)


@each_spoken
def test_a_request_arrives_as_it_was_sent(wire: Wire, api: Api) -> None:
    header = a_header(api)

    @examples(15)
    @given(request=instances(api.request, api.versions.max))
    def check(request: object) -> None:
        received = wire.decode_request(frame_of(wire.encode_request(header, request)))
        assert received.header == header
        assert received.body == request

    check()


@each_spoken
def test_a_response_arrives_as_it_was_sent(wire: Wire, api: Api) -> None:
    header = a_header(api, correlation_id=-5)

    @examples(15)
    @given(response=instances(api.response, api.versions.max))
    def check(response: object) -> None:
        frame = frame_of(wire.encode_response(header, response))
        assert wire.correlation_id(frame) == -5
        assert wire.decode_response(header, frame) == response

    check()


@each_api
def test_both_wires_spell_the_same_message(api: Api) -> None:
    kafka, tide = WIRES
    header = a_header(api)

    @examples(15)
    @given(
        request=instances(api.request, api.versions.max),
        response=instances(api.response, api.versions.max),
    )
    def check(request: object, response: object) -> None:
        assert kafka.decode_request(frame_of(kafka.encode_request(header, request))) == tide.decode_request(
            frame_of(tide.encode_request(header, request))
        )
        assert kafka.decode_response(header, frame_of(kafka.encode_response(header, response))) == tide.decode_response(
            header, frame_of(tide.encode_response(header, response))
        )

    check()


@each_spoken
def test_a_client_may_stay_anonymous(wire: Wire, api: Api) -> None:
    header = dataclasses.replace(a_header(api), client_id=None)
    assert wire.decode_request(frame_of(wire.encode_request(header, api.request()))).header == header


@each_spoken
def test_the_start_of_a_request_says_whether_it_is_a_produce(wire: Wire, api: Api) -> None:
    for client_id in (None, "", "x" * 300):
        for correlation_id in (0, -1, 1 << 30):
            header = a_header(api, correlation_id=correlation_id, client_id=client_id)
            frame = frame_of(wire.encode_request(header, api.request()))
            assert len(frame) >= wire.start_size
            assert wire.is_produce(bytes(frame[: wire.start_size])) == (api.name == "Produce")
