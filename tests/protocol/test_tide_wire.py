"""The tide wire: as its docstring defines it, for a client in any language and against hostile ones."""

from __future__ import annotations

import random
import struct
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.messages import PROOF, a_header, examples, frame_of, instances
from tidelog.protocol.apis import APIS, BY_NAME, Api, ApiKey
from tidelog.protocol.errors import ErrorCode, MalformedMessage, NotServed, ProtocolError, RequestRefused
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest
from tidelog.protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.list_offsets import ListOffsetsRequest
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tidelog.protocol.tide_wire import FIELDS_MAX, PREFACE, REQUEST_ARRAY_COUNT_MAX, TideWire
from tidelog.protocol.wire import ELEMENTS_MAX, REQUEST_SIZE_MAX

WIRE = TideWire()
each_api = pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)


def a_frame(header: object, payload: bytes = b"") -> memoryview:
    """A frame without its length, made as a client in another language would make it."""
    data = msgpack.packb(header)
    return memoryview(bytearray(struct.pack(">I", len(data)) + data + payload))


def body_of(body: object, *, name: str = "Produce", payload: bytes = b"") -> object:
    """What the broker makes of a request's body."""
    return WIRE.decode_request(a_frame([name, 7, body], payload)).body


def produce_of(*pairs: object, payload: bytes) -> object:
    """A produce request with these (position, size) pairs."""
    partitions = [{"index": index, "records": pair} for index, pair in enumerate(pairs)]
    return body_of({"topic_data": [{"name": "t", "partition_data": partitions}]}, payload=payload)


def test_the_preface_cannot_begin_a_kafka_frame() -> None:
    assert PREFACE == b"TIDE\x01"
    assert int.from_bytes(PREFACE[:4], "big") > 1 << 30


def test_a_request_is_what_the_definition_says() -> None:
    request = ProduceRequest(
        acks=-1,
        topic_data=(
            TopicProduceData(
                name="t",
                partition_data=(PartitionProduceData(records=b"abc"), PartitionProduceData(index=1, records=b"defg")),
            ),
        ),
    )
    chunks = WIRE.encode_request(a_header(APIS[ApiKey.PRODUCE]), request)
    frame = frame_of(chunks)
    size = int.from_bytes(frame[:4], "big")
    assert msgpack.unpackb(frame[4 : 4 + size]) == [
        "Produce",
        7,
        {
            "acks": -1,
            "topic_data": [{"name": "t", "partition_data": [{"records": [0, 3]}, {"index": 1, "records": [3, 4]}]}],
        },
        "tests",
    ]
    assert frame[4 + size :] == b"abcdefg"


def test_a_request_without_a_client_id_has_three_elements_and_more_than_four_are_ignored() -> None:
    assert WIRE.decode_request(a_frame(["Metadata", 7, {}])).header.client_id is None
    assert WIRE.decode_request(a_frame(["Metadata", 7, {}, None])).header.client_id is None
    assert WIRE.decode_request(a_frame(["Metadata", 7, {}, "me", "what comes"])).header.client_id == "me"


@pytest.mark.parametrize("text", ["g" * 32_768, "ß" * 16_384, "🎉" * 8192])
def test_a_string_is_no_longer_than_the_kafka_wire_can_say(text: str) -> None:
    """The answer to a Kafka client may have to say it."""
    with pytest.raises(MalformedMessage, match="group_id cannot be the str"):
        WIRE.decode_request(a_frame(["Heartbeat", 7, {"group_id": text}]))
    with pytest.raises(MalformedMessage, match="a short one"):
        WIRE.decode_request(a_frame(["Metadata", 7, {}, text]))
    shorter = WIRE.decode_request(a_frame(["Heartbeat", 7, {"group_id": text[:-1]}, text[:-1]]))
    assert shorter.body == HeartbeatRequest(group_id=text[:-1])


@each_api
def test_the_newest_version_is_spoken(api: Api) -> None:
    request = WIRE.decode_request(a_frame([api.name, 7, {}]))
    assert (request.header.api, request.header.version, request.header.correlation_id) == (api, api.versions.max, 7)
    assert request.body == api.request()


@each_api
def test_fields_of_every_version_travel(api: Api) -> None:
    # A topic's name and its id stand side by side here, while each version of Kafka's has one of them.
    header = a_header(api)

    @examples(10)
    @given(data=st.data(), version=st.integers(api.versions.min, api.versions.max))
    def check(data: st.DataObject, version: int) -> None:
        request = data.draw(instances(api.request, version))
        response = data.draw(instances(api.response, version))
        assert WIRE.decode_request(frame_of(WIRE.encode_request(header, request))).body == request
        assert WIRE.decode_response(header, frame_of(WIRE.encode_response(header, response))) == response

    check()


def test_defaults_are_left_out_and_absent_fields_have_them() -> None:
    frame = frame_of(WIRE.encode_response(a_header(APIS[ApiKey.METADATA]), MetadataResponse()))
    assert msgpack.unpackb(frame[4:]) == [7, 0, {}]
    listed = CreateTopicsRequest(topics=[CreatableTopic(name="a", configs=[])])  # type: ignore[arg-type]
    frame = frame_of(WIRE.encode_request(a_header(APIS[ApiKey.CREATE_TOPICS]), listed))
    assert msgpack.unpackb(frame[4:])[2] == {"topics": [{"name": "a"}]}


def test_null_is_nil_and_differs_from_absent() -> None:
    assert body_of({"topics": None}, name="Metadata") == MetadataRequest(topics=None)
    assert body_of({}, name="Metadata") == MetadataRequest(topics=())
    nameless = MetadataRequest(topics=(MetadataRequestTopic(name=None),))
    assert body_of({"topics": [{"name": None}]}, name="Metadata") == nameless
    with pytest.raises(MalformedMessage, match=r"ProduceRequest\.acks"):
        body_of({"acks": None})


def test_unknown_keys_are_ignored() -> None:
    assert body_of({"acks": 1, "colour": {"of": ["the", b"sea"]}, b"raw": 1}) == ProduceRequest(acks=1)


def test_record_batches_are_slices_of_the_frame_and_are_sent_by_reference() -> None:
    frame = a_frame(["Produce", 7, {"topic_data": [{"partition_data": [{"records": [1, 3]}]}]}], b"abcde")
    body = WIRE.decode_request(frame).body
    assert isinstance(body, ProduceRequest)
    records = body.topic_data[0].partition_data[0].records
    assert isinstance(records, memoryview)
    assert records == b"bcd"
    records[0] = ord("B")
    assert bytes(frame).endswith(b"aBcde")

    stored = [b"x" * 50, bytearray(b"y" * 50), b"", None]
    partitions = tuple(PartitionData(partition_index=index, records=data) for index, data in enumerate(stored))
    response = FetchResponse(responses=(FetchableTopicResponse(topic="t", partitions=partitions),))
    chunks = WIRE.encode_response(a_header(APIS[ApiKey.FETCH]), response)
    assert len(chunks) == 3
    assert chunks[1] is stored[0]
    assert chunks[2] is stored[1]
    assert WIRE.decode_response(a_header(APIS[ApiKey.FETCH]), frame_of(chunks)) == response


@pytest.mark.parametrize(
    "pairs",
    [
        ([0, 6],),
        ([5, 1],),
        ([-1, 2],),
        ([0, -1],),
        ([2**63, 1],),
        ([0, 2**64 - 1],),
        ([0, 3], [2, 2]),  # they overlap: stamping one batch would change the other
        ([2, 2], [0, 1]),
        ([0],),
        ([0, 1, 2],),
        (["0", 1],),
        ([True, 1],),
        ([0, 1.0],),
        ({"position": 0, "size": 1},),
        (b"abc",),
        (3,),
    ],
)
def test_records_outside_the_payload_or_upon_each_other_are_refused(pairs: tuple[object, ...]) -> None:
    with pytest.raises(MalformedMessage, match="payload"):
        produce_of(*pairs, payload=b"abcde")


def test_records_may_leave_gaps_and_be_empty() -> None:
    body = produce_of([0, 0], [1, 2], [4, 1], [5, 0], payload=b"abcde")
    assert isinstance(body, ProduceRequest)
    assert [data.records for data in body.topic_data[0].partition_data] == [b"", b"bc", b"e", b""]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Produce", {"acks": 2**15}),
        ("Produce", {"acks": -(2**15) - 1}),
        ("Produce", {"acks": True}),
        ("Produce", {"acks": 1.0}),
        ("Produce", {"acks": "1"}),
        ("Produce", {"timeout_ms": 2**31}),
        ("Produce", {"transactional_id": b"bytes"}),
        ("Produce", {"topic_data": {}}),
        ("Produce", {"topic_data": None}),
        ("Produce", {"topic_data": [[]]}),
        ("Produce", {"topic_data": [{"topic_id": b"short"}]}),
        ("Produce", {"topic_data": [{"topic_id": "sixteen characte"}]}),
        ("Produce", {"topic_data": [{"name": None}]}),
        ("Produce", []),
        ("Produce", None),
        ("Metadata", {"allow_auto_topic_creation": 1}),
        ("Fetch", {"replica_state": None}),
        ("Fetch", {"replica_state": []}),
        ("Fetch", {"topics": [{"partitions": [{"fetch_offset": 2**63}]}]}),
        ("Fetch", {"forgotten_topics_data": [{"partitions": [0, "1"]}]}),
        ("DeleteTopics", {"topic_names": ["a", None]}),
        ("DeleteTopics", {"topic_names": [msgpack.ExtType(1, b"")]}),
        ("DeleteTopics", {"topic_names": [msgpack.Timestamp(1)]}),
    ],
)
def test_a_value_that_its_field_cannot_hold_is_refused(name: str, body: object) -> None:
    with pytest.raises(MalformedMessage):
        body_of(body, name=name)


@pytest.mark.parametrize(
    "header",
    [
        None,
        {},
        [],
        ["Produce", 7],
        [7, 7, {}],
        [b"Produce", 7, {}],
        ["Produce", "7", {}],
        ["Produce", True, {}],
        ["Produce", 2**31, {}],
        ["Produce", 7, {}, 8],
        ["Produce", 7, {}, b"client"],
    ],
)
def test_a_header_of_another_shape_is_refused(header: object) -> None:
    with pytest.raises(MalformedMessage):
        WIRE.decode_request(a_frame(header))


def test_an_unknown_api_is_malformed_and_named() -> None:
    with pytest.raises(NotServed, match=r"'Teleport'.*'me'"):
        WIRE.decode_request(a_frame(["Teleport", 7, {}, "me"]))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x02\x93",
        b"\xff\xff\xff\xff" + bytes(20),
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x02\x90\x90",  # bytes behind the header's only value
        b"\x00\x00\x00\x05\xdd\xff\xff\xff\xff",
        b"\x00\x00\x00\x03\xa2\xc3\x28",
    ],
)
def test_bytes_that_are_no_frame_are_refused(frame: bytes) -> None:
    for read in (
        WIRE.decode_request,
        WIRE.correlation_id,
        lambda frame: WIRE.decode_response(a_header(APIS[ApiKey.FETCH]), frame),
    ):
        with pytest.raises(MalformedMessage):
            read(memoryview(frame))


def test_a_refusal_arrives_as_one() -> None:
    header = a_header(APIS[ApiKey.LIST_OFFSETS])
    frame = frame_of(WIRE.encode_refusal(header, ErrorCode.INVALID_REQUEST, "two of them"))
    assert msgpack.unpackb(frame[4:]) == [7, 42, {"error_message": "two of them"}]
    assert WIRE.correlation_id(frame) == 7
    with pytest.raises(RequestRefused, match="INVALID_REQUEST: two of them") as caught:
        WIRE.decode_response(header, frame)
    assert caught.value.code is ErrorCode.INVALID_REQUEST


def test_a_refusal_with_an_unknown_code_or_without_words_is_still_one() -> None:
    for body in ({}, {"error_message": 7}):
        with pytest.raises(RequestRefused) as caught:
            WIRE.decode_response(a_header(APIS[ApiKey.FETCH]), a_frame([7, 9999, body]))
        assert (caught.value.code, caught.value.message) == (ErrorCode.UNKNOWN_SERVER_ERROR, "")


@pytest.mark.parametrize("response", [[7, None, {}], [7, 0, []], [7, True, {}], [7, 0]])
def test_a_response_of_another_shape_is_refused(response: object) -> None:
    with pytest.raises(MalformedMessage):
        WIRE.decode_response(a_header(APIS[ApiKey.FETCH]), a_frame(response))


@pytest.mark.parametrize("correlation_id", [0, 127, 128, 2**31 - 1, -1, -(2**31)])
def test_a_correlation_id_is_found_without_reading_the_rest(correlation_id: int) -> None:
    header = a_header(APIS[ApiKey.METADATA], correlation_id=correlation_id)
    frame = frame_of(WIRE.encode_response(header, MetadataResponse(cluster_id="c" * 100)))
    assert WIRE.correlation_id(frame) == correlation_id


def test_a_known_error_is_an_error_code_and_an_unknown_one_stays_a_number() -> None:
    header = a_header(APIS[ApiKey.FETCH])
    known = WIRE.decode_response(header, a_frame([7, 0, {"error_code": 1}]))
    assert isinstance(known, FetchResponse)
    assert known.error_code is ErrorCode.OFFSET_OUT_OF_RANGE
    assert WIRE.decode_response(header, a_frame([7, 0, {"error_code": 9999}])) == FetchResponse(error_code=9999)


def test_a_header_beyond_its_size_is_refused_before_it_is_read() -> None:
    frame = bytearray(REQUEST_SIZE_MAX + 100)
    struct.pack_into(">I", frame, 0, REQUEST_SIZE_MAX + 1)
    with pytest.raises(MalformedMessage, match="a header of"):
        WIRE.decode_request(memoryview(frame))


def test_arrays_that_announce_more_than_they_hold_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        body_of({"topic_names": [""] * (REQUEST_ARRAY_COUNT_MAX + 1)}, name="DeleteTopics")
    nested = b"\xdd\x00\x01\x00\x00" * 900 + bytes(70_000)
    with pytest.raises(MalformedMessage):
        WIRE.decode_request(memoryview(struct.pack(">I", len(nested)) + nested))


@pytest.mark.parametrize(
    "item",
    [b"\xc0", b"\x80", b"\x81\xa0\xc0", b"\x90", b"\xa2ab", b"\xd4\x05x"],
    ids=["nil", "map", "map of one", "array", "string", "extension"],
)
def test_a_header_of_more_things_than_a_request_can_need_is_refused_before_all_are_made(item: bytes) -> None:
    """A byte may be an object of 64: eight megabytes of them would take half a gigabyte."""
    inner = b"\xdc\x10\x00" + item * 4096
    header = b"\x93\xa7Produce\x07\x81\xa4what\xdd" + struct.pack(">I", 400) + inner * 400
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage, match=r"too many|extension"):
            WIRE.decode_request(memoryview(struct.pack(">I", len(header)) + header))
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()


def test_a_request_may_be_large_all_the_same() -> None:
    """Of many thousand topics."""
    names = [f"topic-{number}" for number in range(50_000)]
    request = body_of({"topic_names": names}, name="DeleteTopics")
    assert isinstance(request, DeleteTopicsRequest)
    assert len(request.topic_names) == 50_000 < ELEMENTS_MAX


def test_a_map_of_more_fields_than_any_message_has_is_refused() -> None:
    body_of({f"unknown {number}": 0 for number in range(FIELDS_MAX)}, name="DeleteTopics")
    with pytest.raises(MalformedMessage):
        body_of({f"unknown {number}": 0 for number in range(FIELDS_MAX + 1)}, name="DeleteTopics")


@pytest.mark.parametrize("depth", [100, 1000, 5000])
def test_deep_nesting_is_refused_or_ignored(depth: int) -> None:
    deep = b"\x91" * depth + b"\xc0"
    for key in (b"\xa4acks", b"\xa4what"):
        header = b"\x93\xa7Produce\x07\x81" + key + deep
        try:
            WIRE.decode_request(memoryview(struct.pack(">I", len(header)) + header))
        except MalformedMessage:
            continue
        assert key == b"\xa4what"


@pytest.mark.parametrize("lie", [b"", b"\xc1", b"\xa2\xc3\x28", b"\x81\x90\x01", b"\x91" * 2000])
def test_refused_headers_leave_no_memory_behind(lie: bytes) -> None:
    # msgpack before 1.2.1 forgot to free what it had read of a header that turned out to be malformed.
    header = b"\x93" * 3 + b"\xdc\x20\x00" + b"\xbf0123456789012345678901234567890" * 4000 + lie
    frame = memoryview(struct.pack(">I", len(header)) + header)

    def refuse() -> None:
        with pytest.raises(MalformedMessage):
            WIRE.decode_request(frame)

    refuse()
    tracemalloc.start()
    try:
        refuse()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            refuse()
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=17)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@each_api
def test_nothing_but_a_protocol_error_comes_of_values_of_any_type(api: Api) -> None:
    header = a_header(api)

    @examples(60)
    @given(request=instances(api.request, api.versions.max), anything=ANYTHING, seed=st.integers(0, 2**32))
    def check(request: object, anything: object, seed: int) -> None:
        frame = frame_of(WIRE.encode_request(header, request))
        size = int.from_bytes(frame[:4], "big")
        parts = msgpack.unpackb(frame[4 : 4 + size])
        planted = _with_a_lie(parts[2], anything, random.Random(seed))
        for body in (planted, anything):
            try:
                WIRE.decode_request(a_frame([api.name, 7, body], bytes(frame[4 + size :])))
            except ProtocolError:
                pass

    check()


def _with_a_lie(value: object, lie: object, dice: random.Random) -> object:
    """The value with one of its leaves, branches or itself replaced."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(list(value))
        return {**value, key: _with_a_lie(value[key], lie, dice)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        index = dice.randrange(len(value))
        return [*value[:index], _with_a_lie(value[index], lie, dice), *value[index + 1 :]]
    return lie


def test_nothing_but_a_protocol_error_comes_of_mutated_or_random_bytes() -> None:
    dice = random.Random(2)
    request = ListOffsetsRequest(replica_id=-1, timeout_ms=5)
    sent = [
        bytes(frame_of(WIRE.encode_request(a_header(APIS[ApiKey.LIST_OFFSETS]), request))),
        bytes(a_frame(["Produce", 7, {"topic_data": [{"partition_data": [{"records": [0, 4]}]}]}], b"data")),
        bytes(a_frame(["Metadata", 7, {"topics": [{"topic_id": bytes(16), "name": "a"}]}, "me"])),
        bytes(a_frame([7, 0, {"error_code": 3, "throttle_time_ms": 1}])),
    ]
    for _ in range(600_000 if PROOF else 20_000):
        data = bytearray(dice.choice(sent)) if dice.random() < 0.8 else bytearray(dice.randbytes(dice.randrange(40)))
        for _ in range(dice.randrange(4)):
            if data:
                data[dice.randrange(len(data))] = dice.randrange(256)
        frame = memoryview(data[: dice.randrange(len(data) + 1)] if dice.random() < 0.2 else data)
        try:
            WIRE.decode_request(frame)
        except ProtocolError:
            pass
        try:
            WIRE.decode_response(a_header(dice.choice(list(BY_NAME.values()))), frame)
        except (ProtocolError, RequestRefused):
            pass
