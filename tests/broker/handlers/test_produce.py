"""Produce: what is refused and why, what is stamped, when it is answered [B-1…B-10, B-13, B-15, B-18…B-20]."""

import asyncio
import gc
import struct
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.house import House, a_house
from tidelog.broker.request import NO_RESPONSE, Pending
from tidelog.protocol import batch as batches
from tidelog.protocol.compression import Codec
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from tidelog.protocol.records import build_batch

NOW_MS = 1_700_000_000_000


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topic `orders`."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 2)
        yield house


def a_batch(*values: bytes, codec: Codec = Codec.NONE, **header: int) -> bytearray:
    """A sound batch, fields of its header changed and its CRC right again."""
    batch = build_batch(((None, value, (), NOW_MS) for value in values or (b"value",)), codec=codec)
    for name, value in header.items():
        position, form = FIELDS[name]
        struct.pack_into(form, batch, position, value)
    struct.pack_into(">I", batch, 17, batches.crc_of(batch, 0, len(batch)))
    return batch


FIELDS = {
    "base_offset": (0, ">q"),
    "batch_length": (8, ">i"),
    "magic": (16, ">b"),
    "attributes": (21, ">h"),
    "last_offset_delta": (23, ">i"),
    "producer_id": (43, ">q"),
    "producer_epoch": (51, ">h"),
    "base_sequence": (53, ">i"),
    "record_count": (57, ">i"),
}


async def code_for(house: House, batch: bytes | bytearray | None, version: int = 12) -> ErrorCode:
    """The code that a batch is answered with; nothing of a refused batch may stay in the log."""
    before = house.server.topics.by_name("orders").partitions[0].log.end_offset  # type: ignore[union-attr]
    result = await house.produce("orders", batch, version=version)
    code = ErrorCode(result.error_code)  # type: ignore[union-attr]
    if code is not ErrorCode.NONE:
        assert result.base_offset == -1  # type: ignore[union-attr]
        assert house.server.topics.by_name("orders").partitions[0].log.end_offset == before  # type: ignore[union-attr]
    return code


async def test_offsets_follow_each_other(house: House) -> None:
    first = await house.produce("orders", a_batch(b"a", b"b", b"c"))
    second = await house.produce("orders", a_batch(b"d"))
    assert (first.error_code, first.base_offset) == (0, 0)  # type: ignore[union-attr]
    assert (second.error_code, second.base_offset) == (0, 3)  # type: ignore[union-attr]
    assert second.log_append_time_ms == -1  # type: ignore[union-attr]


@pytest.mark.parametrize("acks", [-2, 2, 7])
async def test_acks_is_minus_one_zero_or_one(house: House, acks: int) -> None:
    """B-1."""
    result = await house.produce("orders", a_batch(), acks=acks)
    assert (result.error_code, result.base_offset) == (ErrorCode.INVALID_REQUIRED_ACKS, -1)  # type: ignore[union-attr]


@pytest.mark.parametrize("records", [None, b"", a_batch() + a_batch(), a_batch(magic=1), a_batch(magic=0)])
async def test_a_partition_takes_exactly_one_batch_of_magic_two(house: House, records: bytes | None) -> None:
    """B-2."""
    assert await code_for(house, records) is ErrorCode.INVALID_RECORD


async def test_zstd_needs_version_seven(house: House) -> None:
    """B-3."""
    assert await code_for(house, a_batch(codec=Codec.ZSTD), version=6) is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    assert await code_for(house, a_batch(codec=Codec.ZSTD), version=7) is ErrorCode.NONE


async def test_a_batch_is_at_most_max_message_bytes_as_it_travels(house: House) -> None:
    """B-4: compressed, header included."""
    batch = a_batch(b"x" * 1000)
    await house.create("small", max_message_bytes=str(len(batch) - 1))
    await house.create("exact", max_message_bytes=str(len(batch)))
    small, exact = await house.produce("small", batch), await house.produce("exact", batch)
    assert small.error_code == ErrorCode.MESSAGE_TOO_LARGE  # type: ignore[union-attr]
    assert exact.error_code == ErrorCode.NONE  # type: ignore[union-attr]
    squeezed = await house.produce("small", a_batch(b"x" * 10_000, codec=Codec.ZSTD))
    assert squeezed.error_code == ErrorCode.NONE  # type: ignore[union-attr]


async def test_a_batch_fits_into_a_segment(house: House) -> None:
    """B-5."""
    await house.create("tiny", segment_bytes="1024")
    result = await house.produce("tiny", a_batch(b"x" * 1100))
    assert result.error_code == ErrorCode.RECORD_LIST_TOO_LARGE  # type: ignore[union-attr]


@pytest.mark.parametrize("position", [17, 21, 30, 57, 61, 65])
async def test_a_flipped_bit_is_noticed(house: House, position: int) -> None:
    """B-6."""
    batch = a_batch(b"some value")
    batch[position] ^= 0x10
    assert await code_for(house, batch) is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("length", [1, 16, 17, 60, 61, 65])
async def test_a_batch_that_is_cut_short_is_corrupt(house: House, length: int) -> None:
    """B-6."""
    assert await code_for(house, a_batch(b"some value")[:length]) is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (a_batch(base_offset=5), ErrorCode.INVALID_RECORD),
        (a_batch(record_count=0), ErrorCode.INVALID_RECORD),
        (a_batch(record_count=0, last_offset_delta=-1), ErrorCode.INVALID_RECORD),
        (a_batch(record_count=2), ErrorCode.INVALID_RECORD),
        (a_batch(last_offset_delta=3), ErrorCode.INVALID_RECORD),
        (a_batch(attributes=0x20), ErrorCode.INVALID_RECORD),
        (a_batch(producer_id=7, producer_epoch=0, base_sequence=-1), ErrorCode.INVALID_RECORD),
        (a_batch(producer_id=7, producer_epoch=-1, base_sequence=0), ErrorCode.INVALID_RECORD),
        (a_batch(attributes=0x10), ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        (a_batch(attributes=0x08), ErrorCode.INVALID_TIMESTAMP),
    ],
    ids=["B-7", "B-8 none", "B-8 nothing", "B-8 count", "B-8 delta", "B-9", "B-10", "no epoch", "B-17", "B-13"],
)
async def test_a_header_that_a_client_may_not_send_is_refused(house: House, batch: bytes, code: ErrorCode) -> None:
    assert await code_for(house, batch) is code


async def test_a_retry_is_answered_with_the_offset_of_the_first_attempt(house: House) -> None:
    """B-21, I-2: nothing is written a second time."""
    first, second = (a_batch(producer_id=7, producer_epoch=0, base_sequence=number) for number in (0, 1))
    answers = [await house.produce("orders", bytes(batch)) for batch in (first, second, first, second)]
    assert [(one.error_code, one.base_offset) for one in answers] == [(0, 0), (0, 1), (0, 0), (0, 1)]  # type: ignore[union-attr]
    assert house.server.topics.by_name("orders").partitions[0].log.end_offset == 2  # type: ignore[union-attr]


async def test_a_retry_is_told_the_first_attempts_append_time(house: House) -> None:
    """I-2: the original offset and timestamp."""
    await house.create("stamped", message_timestamp_type="LogAppendTime")
    batch = bytes(a_batch(producer_id=7, producer_epoch=0, base_sequence=0))
    answers = [await house.produce("stamped", batch) for _ in range(2)]
    assert answers[0].log_append_time_ms == answers[1].log_append_time_ms > NOW_MS  # type: ignore[union-attr]


async def test_gaps_and_old_epochs_are_refused(house: House) -> None:
    """I-2, I-3."""
    assert await code_for(house, a_batch(producer_id=7, producer_epoch=1, base_sequence=0)) is ErrorCode.NONE
    gap = a_batch(producer_id=7, producer_epoch=1, base_sequence=2)
    assert await code_for(house, gap) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    old = a_batch(producer_id=7, producer_epoch=0, base_sequence=0)
    assert await code_for(house, old) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert await code_for(house, a_batch(producer_id=7, producer_epoch=1, base_sequence=1)) is ErrorCode.NONE


async def test_a_transactional_batch_takes_the_whole_request_with_it(house: House) -> None:
    """B-17."""
    good, bad = bytes(a_batch()), bytes(a_batch(attributes=0x10))
    topic = TopicProduceData(
        name="orders",
        partition_data=(
            PartitionProduceData(index=0, records=memoryview(bytearray(good))),
            PartitionProduceData(index=1, records=memoryview(bytearray(bad))),
        ),
    )
    for transactional_id, codes in (
        (None, [ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED] * 2),
        ("t", [ErrorCode.NONE, ErrorCode.INVALID_TXN_STATE]),
    ):
        request = ProduceRequest(transactional_id=transactional_id, acks=-1, topic_data=(topic,))
        response = await house.ask(request, version=11)
        assert isinstance(response, ProduceResponse)
        assert [one.error_code for one in response.responses[0].partition_responses] == codes


async def test_what_is_stored_is_stamped_and_nothing_else_changes(house: House) -> None:
    """B-15, B-16: base offset and leader epoch only, under the producer's own CRC."""
    await house.produce("orders", a_batch(b"first"))
    sent = a_batch(b"second", b"third", codec=Codec.LZ4)
    await house.produce("orders", sent)
    partition = house.server.topics.by_name("orders").partitions[0]  # type: ignore[union-attr]
    stored = bytes(partition.read(1, size_max=1 << 20, at_least_one=True).records)
    assert batches.check(stored).base_offset == 1
    assert stored[8:12] == sent[8:12]
    assert stored[16:] == sent[16:]
    assert batches.read_header(stored).leader_epoch == partition.leader_epoch


async def test_log_append_time_is_the_brokers_clock_under_a_new_crc(house: House) -> None:
    """B-15."""
    await house.create("stamped", message_timestamp_type="LogAppendTime")
    result = await house.produce("stamped", a_batch(b"value"))
    assert result.log_append_time_ms > NOW_MS  # type: ignore[union-attr]
    partition = house.server.topics.by_name("stamped").partitions[0]  # type: ignore[union-attr]
    header = batches.check(partition.read(0, size_max=1 << 20, at_least_one=True).records)
    assert header.is_log_append_time
    assert header.max_timestamp == result.log_append_time_ms  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("topic", "partition", "code"),
    [
        ("nowhere", 0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("orders", 2, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("orders", -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("__consumer_offsets", 0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("__cluster_metadata", 0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ],
)
async def test_only_what_exists_and_is_not_internal_is_written(
    house: House, topic: str, partition: int, code: ErrorCode
) -> None:
    """B-18, B-19: the internal topics do not exist yet, and cannot be created by clients."""
    result = await house.produce(topic, a_batch(), partition=partition)
    assert result.error_code == code  # type: ignore[union-attr]


async def test_an_unknown_topic_id_has_a_code_of_its_own(house: House) -> None:
    """B-18."""
    from uuid import UUID

    data = TopicProduceData(topic_id=UUID(int=99), partition_data=(PartitionProduceData(index=0),))
    response = await house.ask(ProduceRequest(acks=1, topic_data=(data,)), 13)
    assert isinstance(response, ProduceResponse)
    assert response.responses[0].partition_responses[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


async def test_one_bad_partition_does_not_hurt_the_others(house: House) -> None:
    def data(index: int, batch: bytearray) -> PartitionProduceData:
        return PartitionProduceData(index=index, records=memoryview(batch))

    topic = TopicProduceData(
        name="orders", partition_data=(data(0, a_batch(b"good")), data(1, a_batch(base_offset=1)), data(9, a_batch()))
    )
    response = await house.ask(ProduceRequest(acks=-1, topic_data=(topic,)), 12)
    assert isinstance(response, ProduceResponse)
    [answered] = response.responses
    assert [(one.index, one.error_code) for one in answered.partition_responses] == [
        (0, ErrorCode.NONE),
        (1, ErrorCode.INVALID_RECORD),
        (9, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]


async def test_acks_zero_has_no_answer(house: House) -> None:
    assert await house.produce("orders", a_batch(), acks=0) is NO_RESPONSE
    assert house.client.closed_for == []


async def test_an_error_with_acks_zero_closes_the_connection(house: House) -> None:
    assert await house.produce("orders", a_batch(base_offset=1), acks=0) is NO_RESPONSE
    assert house.client.closed_for == ["acks=0 produce failed: INVALID_RECORD"]


async def test_acks_one_is_answered_by_the_page_cache_and_acks_all_by_the_disk(house: House) -> None:
    """B-20 and house rule: the high watermark is the durable end, and nobody sees more."""
    partition = house.server.topics.by_name("orders").partitions[0]  # type: ignore[union-attr]

    def ask(acks: int) -> Pending[object]:
        data = PartitionProduceData(index=0, records=memoryview(a_batch()))
        topic = TopicProduceData(name="orders", partition_data=(data,))
        pending = house.call(ProduceRequest(acks=acks, topic_data=(topic,)), 12)
        assert isinstance(pending, Pending)
        return pending

    answered: list[str] = []
    ask(1).attach(lambda _: answered.append("1"))
    ask(-1).attach(lambda _: answered.append("all"))
    # The calls above wrote to the page cache; no turn of the loop, so no commit round, has passed.
    assert answered == ["1"]
    assert partition.high_watermark == 0
    assert len(partition.read(0, size_max=1 << 20, at_least_one=True).records) == 0
    result = await house.produce("orders", a_batch())
    assert result.base_offset == 2  # type: ignore[union-attr]
    assert answered == ["1", "all"]
    assert partition.high_watermark == partition.log.recovery_point == 3


async def test_write_caching_answers_and_shows_from_the_page_cache(house: House) -> None:
    await house.create("cached", write_caching="true", flush_ms="1")
    partition = house.server.topics.by_name("cached").partitions[0]  # type: ignore[union-attr]
    data = PartitionProduceData(index=0, records=memoryview(a_batch()))
    topic = TopicProduceData(name="cached", partition_data=(data,))
    pending = house.call(ProduceRequest(acks=-1, topic_data=(topic,)), 12)
    assert isinstance(pending, Pending)
    answered: list[object] = []
    pending.attach(answered.append)
    assert len(answered) == 1
    assert partition.high_watermark == 1
    assert partition.log.recovery_point == 0


@pytest.mark.parametrize("acks", [-1, 1, 0])
@pytest.mark.parametrize("good", [True, False])
async def test_a_batch_is_let_go_when_it_is_answered(house: House, acks: int, good: bool) -> None:
    """Q-3: without the garbage collector's help, which may be far away; nobody counts what it has not yet found."""
    frames = [Frame(a_batch(b"x" * 1000, base_offset=0 if good else 5)) for _ in range(3)]
    gone = [weakref.ref(frame) for frame in frames]
    gc.collect()
    gc.disable()
    try:
        while frames:
            await produce_frame(house, frames.pop(), acks)
        await asyncio.sleep(0)
        assert [reference() for reference in gone] == [None] * 3
    finally:
        gc.enable()


class Frame(bytearray):
    """What a request lies in; unlike a bytearray, one can see it go."""

    __slots__ = ("__weakref__",)


async def produce_frame(house: House, frame: Frame, acks: int) -> None:
    data = PartitionProduceData(index=0, records=memoryview(frame))
    topic = TopicProduceData(name="orders", partition_data=(data,))
    await house.ask(ProduceRequest(acks=acks, timeout_ms=1000, topic_data=(topic,)), version=12)
