"""The generator: fast and seeded, of every API and version, and never a danger to the honest client."""

import random
from collections import Counter

import pytest

from fuzz.generator import BROKER_SETTINGS, HINTS, OTHER_NAMES, TOPICS, Palette, Requests
from fuzz.honest import SETTINGS, TOPIC
from fuzz.inputs import KAFKA, PARTITIONS_MAX, TIDE, Input, Inputs, wishes_for_many_partitions
from support.messages import a_header, frame_of, served
from tidelog.protocol.apis import APIS, Api, ApiKey
from tidelog.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tidelog.protocol.primitives import INT32_MAX
from tidelog.protocol.wire import RequestHeader, Wire
from tidelog.storage.config import LogConfig

COUNT = 5_000


def some_inputs(seed: int = 1, count: int = COUNT) -> list[Input]:
    inputs = Inputs(seed, Palette())
    return [inputs.next() for _ in range(count)]


@pytest.mark.parametrize(("api", "version"), served(), ids=lambda value: getattr(value, "name", value))
def test_every_request_that_is_served_can_be_made_and_is_read_as_it_was_meant(api: Api, version: int) -> None:
    requests = Requests(random.Random(1), Palette())
    for _ in range(20):
        request = requests.of(api.request, version)
        header = RequestHeader(api=api, version=version, correlation_id=1, client_id=None)
        for wire in (KAFKA, TIDE) if version == api.versions.max else (KAFKA,):
            frame = frame_of(wire.encode_request(header, request))
            again = wire.decode_request(frame)
            assert again.header == header
            assert b"".join(wire.encode_request(header, again.body))[4:] == frame


def test_the_same_seed_gives_the_same_inputs() -> None:
    assert some_inputs(3) == some_inputs(3)
    assert some_inputs(3) != some_inputs(4)


def test_every_kind_comes_and_no_api_is_forgotten() -> None:
    inputs = some_inputs()
    kinds = Counter(entry.kind for entry in inputs)
    assert len(kinds) == 12
    assert min(kinds.values()) > COUNT / 100
    asked = {entry.asked[1].api for entry in inputs if entry.asked is not None}
    assert asked == set(APIS.values())


def test_pieces_are_the_whole_input() -> None:
    inputs = some_inputs()
    assert all(b"".join(entry.pieces()) == entry.data for entry in inputs)
    assert any(entry.cuts for entry in inputs)


def test_the_honest_clients_topic_is_never_named() -> None:
    """By construction: nothing that is named could be mistaken for it, and inputs are made of what is named."""
    assert not any(TOPIC in name for name in (*TOPICS, *OTHER_NAMES))
    assert not any(b"honest" in entry.data for entry in some_inputs())


def test_the_honest_clients_topic_inherits_no_setting() -> None:
    """Whoever changes the broker's defaults, as a stranger legally may, changes nothing for it."""
    assert set(SETTINGS) == set(LogConfig().entries())
    assert not any(name.startswith(("max.connections", "socket.", "connections.")) for name in BROKER_SETTINGS)


@pytest.mark.parametrize("wire", [KAFKA, TIDE], ids=lambda wire: wire.name)
@pytest.mark.parametrize("count", [3, 2_000])
def test_a_byte_that_is_changed_into_a_wish_for_many_partitions_is_noticed(wire: Wire, count: int) -> None:
    """It is legal, takes as long as it must, and is kept out."""
    by_creation = CreateTopicsRequest(topics=(CreatableTopic(name="wish", num_partitions=count),))
    by_growth = CreatePartitionsRequest(topics=(CreatePartitionsTopic(name="wish", count=count),))
    for request, key in ((by_creation, ApiKey.CREATE_TOPICS), (by_growth, ApiKey.CREATE_PARTITIONS)):
        frame = bytearray(frame_of(wire.encode_request(a_header(APIS[key]), request)))
        assert wishes_for_many_partitions(wire, frame) == (count > 3)
        assert not wishes_for_many_partitions(wire, frame[:-2])


def test_nobody_wishes_for_many_partitions_in_the_first_place() -> None:
    for name in ("num_partitions", "count"):
        assert all(value <= PARTITIONS_MAX or value == INT32_MAX for value in HINTS[name])


def test_what_the_broker_gave_out_is_used_again() -> None:
    class Answer:
        producer_id = 4711
        session_id = None

    palette = Palette()
    palette.learn(Answer())
    assert list(palette.known["producer_id"]) == [4711]
    assert not palette.known["session_id"]
