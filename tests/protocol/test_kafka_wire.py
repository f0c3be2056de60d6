"""The Kafka wire: Kafka's headers, refusals, and no way for bytes to do more harm than end a connection."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.schema.request_header.v1.header import RequestHeader as KioRequestHeader1
from kio.schema.request_header.v2.header import RequestHeader as KioRequestHeader2
from kio.schema.response_header.v0.header import ResponseHeader as KioResponseHeader0
from kio.schema.response_header.v1.header import ResponseHeader as KioResponseHeader1
from kio.serial import entity_writer

from support.messages import PROOF, a_header, examples, frame_of, instances, served
from tidelog.protocol.apis import APIS, KAFKA_APIS, Api, ApiKey
from tidelog.protocol.errors import ErrorCode, MalformedMessage, NotServed, ProtocolError, UnsupportedVersion
from tidelog.protocol.fields import Kind, fields_of
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from tidelog.protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataResponse, MetadataResponseTopic
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tidelog.protocol.wire import ELEMENTS_MAX, REQUEST_SIZE_MAX, RequestHeader

WIRE = KafkaWire()
each_served = pytest.mark.parametrize(("api", "version"), served(), ids=lambda value: getattr(value, "name", value))


def written_by_kio(entity: object) -> bytes:
    buffer = io.BytesIO()
    entity_writer(type(entity))(buffer, entity)
    return buffer.getvalue()


def a_request(key: int, version: int, *, body: bytes = b"") -> memoryview:
    """A request with an old header, as a client might send it."""
    return memoryview(bytearray(struct.pack(">hhih", key, version, 7, 5) + b"tests" + body))


@each_served
def test_request_headers_are_kafkas(api: Api, version: int) -> None:
    kind = KioRequestHeader2 if api.is_flexible(version) else KioRequestHeader1
    for client_id in (None, "", "tests", "ä" * 300):
        header = RequestHeader(api=api, version=version, correlation_id=-3, client_id=client_id)
        expected = written_by_kio(
            kind(request_api_key=api.key, request_api_version=version, correlation_id=-3, client_id=client_id)
        )
        frame = frame_of(WIRE.encode_request(header, api.request()))
        assert frame[: len(expected)] == expected
        assert WIRE.decode_request(frame).header == header


@each_served
def test_response_headers_are_kafkas(api: Api, version: int) -> None:
    # kafka.md 1b.1: the response header of ApiVersions is always v0.
    flexible = api.is_flexible(version) and api.key is not ApiKey.API_VERSIONS
    kind = KioResponseHeader1 if flexible else KioResponseHeader0
    expected = written_by_kio(kind(correlation_id=9))
    frame = frame_of(WIRE.encode_response(a_header(api, version, correlation_id=9), api.response()))
    assert frame[: len(expected)] == expected
    assert WIRE.correlation_id(frame) == 9


@each_served
def test_messages_of_every_version_survive_the_way(api: Api, version: int) -> None:
    header = a_header(api, version)

    @examples(4)
    @given(request=instances(api.request, version), response=instances(api.response, version))
    def check(request: object, response: object) -> None:
        assert WIRE.decode_request(frame_of(WIRE.encode_request(header, request))).body == request
        assert WIRE.decode_response(header, frame_of(WIRE.encode_response(header, response))) == response

    check()


def test_unknown_tagged_fields_of_headers_are_skipped() -> None:
    # kafka.md 1b.8
    header = a_header(APIS[ApiKey.METADATA], 9)
    tags = b"\x02\x05\x01x\x06\x00"
    request = bytes(frame_of(WIRE.encode_request(header, MetadataRequest(topics=None))))
    assert WIRE.decode_request(memoryview(request[:15] + tags + request[16:])).body == MetadataRequest(topics=None)
    response = bytes(frame_of(WIRE.encode_response(header, MetadataResponse())))
    assert WIRE.decode_response(header, memoryview(response[:4] + tags + response[5:])) == MetadataResponse()


def test_an_unknown_api_key_is_malformed_and_named() -> None:
    # kafka.md 1b.2
    with pytest.raises(NotServed, match=r"API key 999 .*'tests'"):
        WIRE.decode_request(a_request(999, 0))


@pytest.mark.parametrize(("key", "version"), [(ApiKey.PRODUCE, 2), (ApiKey.FETCH, 19), (ApiKey.METADATA, -1)])
def test_a_version_that_is_not_served_is_refused(key: ApiKey, version: int) -> None:
    # kafka.md 1b.2, 1b.3: Produce 0-2 are advertised but not served.
    with pytest.raises(UnsupportedVersion) as caught:
        WIRE.decode_request(a_request(key, version))
    assert (caught.value.api_key, caught.value.version) == (key, version)


def test_api_versions_of_an_unknown_version_can_be_answered_as_of_version_0() -> None:
    # kafka.md 1b.1, KIP-511
    api = APIS[ApiKey.API_VERSIONS]
    with pytest.raises(UnsupportedVersion) as caught:
        WIRE.decode_request(a_request(api.key, 99, body=b"whatever version 99 may hold"))
    header = caught.value.header
    assert header == RequestHeader(api=api, version=99, correlation_id=7, client_id="tests")

    answer = ApiVersionsResponse(
        error_code=ErrorCode.UNSUPPORTED_VERSION,
        api_keys=(ApiVersion(api_key=18, min_version=0, max_version=4),),
    )
    frame = frame_of(WIRE.encode_response(a_header(api, 0), answer))
    assert bytes(frame) == bytes.fromhex("00000007 0023 00000001 0012 0000 0004")
    for asked in range(5):
        assert WIRE.decode_response(a_header(api, asked), frame) == answer
        # A broker that does know the version may still say so in its words.
        polite = frame_of(WIRE.encode_response(a_header(api, asked), answer))
        assert WIRE.decode_response(a_header(api, asked), polite) == answer


def test_api_versions_keeps_the_client_id_as_an_old_string_in_flexible_versions() -> None:
    # kafka.md 1b.1
    request = ApiVersionsRequest(client_software_name="kcat", client_software_version="1")
    frame = frame_of(WIRE.encode_request(a_header(APIS[ApiKey.API_VERSIONS], 3), request))
    assert bytes(frame) == b"\x00\x12\x00\x03\x00\x00\x00\x07\x00\x05tests\x00\x05kcat\x021\x00"


@pytest.mark.parametrize("size", range(15))
def test_a_header_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(MalformedMessage):
        WIRE.decode_request(a_request(ApiKey.METADATA, 4)[:size])


@pytest.mark.parametrize("length", [-2, -32768, 6, 32767])
def test_a_client_id_that_lies_about_its_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedMessage):
        WIRE.decode_request(memoryview(struct.pack(">hhih", 3, 0, 7, length) + b"tests"))


def test_a_client_id_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        WIRE.decode_request(memoryview(struct.pack(">hhih", 3, 0, 7, 2) + b"\xc3\x28"))


@each_served
def test_bytes_behind_a_request_are_ignored_as_by_kafka(api: Api, version: int) -> None:
    header = a_header(api, version)
    request = bytes(frame_of(WIRE.encode_request(header, api.request()))) + b"\x01\x00\x00"
    assert WIRE.decode_request(memoryview(request)).body == api.request()


def test_librdkafkas_question_for_all_topics_is_understood() -> None:
    """librdkafka 2.x leaves the room it reserved for a count behind: three bytes too many (docs/decisions/0005)."""
    asked = b"\x00\x03\x00\r\x00\x00\x00\x03\x00\x07rdkafka\x00\x00\x00\x00\x00\x01\x00\x00"
    request = WIRE.decode_request(memoryview(asked))
    assert isinstance(request.body, MetadataRequest)
    assert request.body.topics is None


@each_served
def test_bytes_behind_a_response_are_refused(api: Api, version: int) -> None:
    header = a_header(api, version)
    response = bytes(frame_of(WIRE.encode_response(header, api.response()))) + b"\x00"
    with pytest.raises(MalformedMessage, match="1 bytes too many"):
        WIRE.decode_response(header, memoryview(response))


def test_null_topics_mean_all_and_are_refused_where_they_do_not_exist() -> None:
    header = a_header(APIS[ApiKey.METADATA], 1)
    frame = frame_of(WIRE.encode_request(header, MetadataRequest(topics=None)))
    assert WIRE.decode_request(frame).body == MetadataRequest(topics=None)
    with pytest.raises(ValueError, match="Metadata v0"):
        WIRE.encode_request(a_header(APIS[ApiKey.METADATA], 0), MetadataRequest(topics=None))
    frame[2:4] = b"\x00\x00"
    with pytest.raises(MalformedMessage, match="null"):
        WIRE.decode_request(frame)


def test_what_cannot_be_written_is_named() -> None:
    nameless = MetadataResponse(topics=(MetadataResponseTopic(name=None),))
    with pytest.raises(ValueError, match="Metadata v9: MetadataResponse cannot be written"):
        WIRE.encode_response(a_header(APIS[ApiKey.METADATA], 9), nameless)


def test_record_batches_are_never_copied() -> None:
    records = [bytearray(b"a" * 100), memoryview(b"b" * 100), b"", None, b"c"]
    partitions = tuple(PartitionData(partition_index=index, records=data) for index, data in enumerate(records))
    response = FetchResponse(responses=(FetchableTopicResponse(partitions=partitions),))
    header = a_header(APIS[ApiKey.FETCH])
    chunks = WIRE.encode_response(header, response)
    assert [chunk for chunk in chunks if any(chunk is data for data in records)] == [records[0], records[1], b"c"]
    assert WIRE.decode_response(header, frame_of(chunks)) == response

    request = ProduceRequest(topic_data=(TopicProduceData(partition_data=(PartitionProduceData(records=b"xyz"),)),))
    frame = frame_of(WIRE.encode_request(a_header(APIS[ApiKey.PRODUCE]), request))
    body = WIRE.decode_request(frame).body
    assert isinstance(body, ProduceRequest)
    slice_of_frame = body.topic_data[0].partition_data[0].records
    assert isinstance(slice_of_frame, memoryview)
    slice_of_frame[0] = ord("X")  # as a broker stamps a batch where it was received
    assert b"Xyz" in bytes(frame)


def test_there_is_no_refusal_but_to_close_the_connection() -> None:
    # kafka.md 1b.2
    assert WIRE.encode_refusal(a_header(APIS[ApiKey.FETCH]), ErrorCode.UNKNOWN_SERVER_ERROR, "") is None


def test_a_request_that_announces_more_than_it_holds_allocates_nothing() -> None:
    frame = a_request(ApiKey.METADATA, 4, body=b"\x7f\xff\xff\xff" + bytes(1000))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage, match="announced"):
            WIRE.decode_request(frame)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


HUGE = [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff\x0f", b"\x00", b"\xff"]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The same bytes with a few lies in them."""
    mutant = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        position = dice.randrange(len(mutant) + 1)
        match dice.randrange(5):
            case 0 if mutant:
                mutant[position % len(mutant)] = dice.randrange(256)
            case 1:
                del mutant[position:]
            case 2:
                mutant[position : position + dice.randrange(5)] = b""
            case 3:
                mutant[position:position] = dice.randbytes(dice.randrange(1, 5))
            case _:
                lie = dice.choice(HUGE)
                mutant[position : position + len(lie)] = lie
    return bytes(mutant)


@each_served
def test_nothing_but_a_protocol_error_comes_of_mutated_bytes(api: Api, version: int) -> None:
    header = a_header(api, version)

    @examples(6)
    @given(
        request=instances(api.request, version),
        response=instances(api.response, version),
        seed=st.integers(0, 2**32),
    )
    def check(request: object, response: object, seed: int) -> None:
        dice = random.Random(seed)
        sent = bytes(frame_of(WIRE.encode_request(header, request)))
        answered = bytes(frame_of(WIRE.encode_response(header, response)))
        for _ in range(10):
            try:
                WIRE.decode_request(memoryview(mutated(sent, dice)))
            except ProtocolError:
                pass
            try:
                WIRE.decode_response(header, memoryview(mutated(answered, dice)))
            except ProtocolError:
                pass

    check()


def brings_records(message: type) -> bool:
    wires = [field.wire for field in fields_of(message)]
    return any(wire.kind is Kind.RECORDS or (wire.struct and brings_records(wire.struct)) for wire in wires)


def test_only_a_request_that_brings_records_may_be_as_large_as_a_frame() -> None:
    """Everything else becomes objects, many times larger than their bytes."""
    assert any(brings_records(api.request) for api in KAFKA_APIS.values())
    for api in KAFKA_APIS.values():
        start = struct.pack(">h", api.key)
        assert WIRE.request_size_max(start) == (None if brings_records(api.request) else REQUEST_SIZE_MAX)
    assert WIRE.request_size_max(b"\xff\xff") == REQUEST_SIZE_MAX


def test_a_request_of_more_elements_than_a_cluster_needs_is_refused_at_once() -> None:
    """Q-3: 33 million of three bytes fit a frame. The broker counts; a client reads what its broker sends."""
    topic = b"\x00\x00" + struct.pack(">i", 0)
    tail = struct.pack(">hih", -1, 1, 1000)
    for count, refused in ((ELEMENTS_MAX, False), (ELEMENTS_MAX + 1, True)):
        body = b"\xff\xff" + struct.pack(">hi", -1, 1000) + struct.pack(">i", count) + topic * count
        frame = a_request(ApiKey.PRODUCE, 8, body=body + tail)
        if refused:
            with pytest.raises(MalformedMessage, match="elements"):
                WIRE.decode_request(frame)
        else:
            WIRE.decode_request(frame)


@pytest.mark.parametrize("size", [32_767, 32_768, 1 << 20])
def test_a_string_in_a_request_is_no_longer_than_every_version_can_say(size: int) -> None:
    """As in Kafka. The answer to somebody else may have to say it, in a version that has but two bytes for its size."""
    header = RequestHeader(api=APIS[ApiKey.HEARTBEAT], version=4, correlation_id=1)
    frame = memoryview(b"".join(WIRE.encode_request(header, HeartbeatRequest(group_id="g" * size))))[4:]
    if size > 32_767:
        with pytest.raises(MalformedMessage, match=f"a string of {size} bytes"):
            WIRE.decode_request(frame)
    else:
        assert WIRE.decode_request(frame).body == HeartbeatRequest(group_id="g" * size)


def test_nothing_but_a_protocol_error_comes_of_random_bytes() -> None:
    dice = random.Random(1)
    for _ in range(300_000 if PROOF else 5_000):
        api, version = dice.choice(served())
        body = dice.randbytes(dice.randrange(60))
        try:
            WIRE.decode_request(a_request(api.key, version, body=body))
        except ProtocolError:
            pass
        try:
            WIRE.decode_response(a_header(api, version), memoryview(body))
        except ProtocolError:
            pass
