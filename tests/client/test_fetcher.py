"""Positions, and what is held between the broker and the program."""

import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import a_batch, with_header
from tidelog.client.config import ReaderConfig
from tidelog.client.errors import CorruptRecords, TidelogError
from tidelog.client.fetcher import Asked, Cursor, Fetcher
from tidelog.client.records import Record, TopicPartition
from tidelog.protocol.batch import restamp
from tidelog.protocol.compression import Codec
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from tidelog.protocol.records import ControlKind, control_batch

TOPIC_ID = uuid.UUID(int=7)


def a_fetcher(*, prefetch: int = 1 << 20, partition_bytes_max: int = 1 << 16, partitions: int = 1) -> Fetcher:
    fetcher = Fetcher(ReaderConfig(prefetch=prefetch, partition_bytes_max=partition_bytes_max))
    for partition in range(partitions):
        fetcher.add(TopicPartition("orders", partition), TOPIC_ID, 0)
    return fetcher


def the_cursor(fetcher: Fetcher, partition: int = 0) -> Cursor:
    return fetcher.cursors[TopicPartition("orders", partition)]


def a_span(start: int, end: int | None) -> Fetcher:
    fetcher = Fetcher(ReaderConfig())
    fetcher.add(TopicPartition("orders", 0), TOPIC_ID, start, end)
    return fetcher


def a_log(sizes: Sequence[int], *, base_offset: int = 0, codec: Codec = Codec.NONE) -> bytes:
    """Batches of so many records each; each record's value is its offset."""
    log = bytearray()
    for size in sizes:
        offsets = range(base_offset, base_offset + size)
        log += a_batch([b"%d" % offset for offset in offsets], base_offset=base_offset, codec=codec)
        base_offset += size
    return bytes(log)


def an_answer(records: bytes, *, partition: int = 0, code: int = 0) -> FetchResponse:
    data = PartitionData(partition_index=partition, error_code=code, high_watermark=100, records=records)
    return FetchResponse(responses=(FetchableTopicResponse(topic="orders", partitions=(data,)),))


def ask(fetcher: Fetcher) -> Asked:
    return fetcher.ask(fetcher.wanted(0.0))


def answered(fetcher: Fetcher, asked: Asked, response: FetchResponse) -> None:
    fetcher.unask(asked)
    assert fetcher.accept(asked, response) == []


def fetch(fetcher: Fetcher, records: bytes, *, partition: int = 0) -> None:
    answered(fetcher, ask(fetcher), an_answer(records, partition=partition))


def drained(fetcher: Fetcher) -> list[Record]:
    records: list[Record] = []
    while batch := fetcher.next_batch():
        records += batch
    return records


def offsets(records: Sequence[Record]) -> list[int]:
    return [record.offset for record in records]


@pytest.mark.parametrize("codec", Codec)
def test_records_come_out_decoded_and_the_next_fetch_goes_on_behind_them(codec: Codec) -> None:
    fetcher = a_fetcher()
    fetch(fetcher, a_log([3, 2], codec=codec))
    records = drained(fetcher)
    assert offsets(records) == [0, 1, 2, 3, 4]
    assert records[3].value == b"3"
    assert (records[0].topic, records[0].partition) == ("orders", 0)
    assert the_cursor(fetcher).position == the_cursor(fetcher).fetch_offset == 5
    assert the_cursor(fetcher).high_watermark == 100
    assert ask(fetcher).request.topics[0].partitions[0].fetch_offset == 5


def test_the_head_of_a_batch_that_was_not_asked_for_is_dropped() -> None:  # L-5
    fetcher = a_fetcher()
    fetcher.place(the_cursor(fetcher), 3)
    fetch(fetcher, a_log([5]))
    assert offsets(drained(fetcher)) == [3, 4]


def test_what_lies_beyond_the_end_is_dropped() -> None:
    fetcher = a_span(0, 7)
    fetch(fetcher, a_log([5, 5, 5]))
    assert [fetcher.finished, offsets(drained(fetcher)), fetcher.finished] == [False, [0, 1, 2, 3, 4, 5, 6], True]
    assert fetcher.wanted(0.0) == []


def test_a_span_without_records_is_finished_from_the_start() -> None:
    fetcher = a_span(7, 7)
    assert fetcher.finished


def test_holes_that_compaction_left_are_stepped_over() -> None:
    log = bytearray(a_log([2]))
    later = a_batch([b"x"], base_offset=10)
    fetcher = a_fetcher()
    fetch(fetcher, bytes(log + later))
    assert offsets(drained(fetcher)) == [0, 1, 10]
    assert the_cursor(fetcher).position == 11


def test_markers_of_transactions_are_no_records_but_move_on() -> None:
    marker = control_batch(ControlKind.COMMIT, producer_id=1, producer_epoch=0, coordinator_epoch=0, now_ms=1)
    restamp(marker, 0, base_offset=2, leader_epoch=0)
    fetcher = a_fetcher()
    fetch(fetcher, a_log([2]) + marker)
    assert offsets(drained(fetcher)) == [0, 1]
    assert the_cursor(fetcher).position == 3
    assert fetcher.next_batch() is None


def test_a_last_batch_that_is_cut_short_is_left_for_the_next_fetch() -> None:
    whole = a_log([2, 2])
    fetcher = a_fetcher()
    fetch(fetcher, whole[:-10])
    assert offsets(drained(fetcher)) == [0, 1]
    assert the_cursor(fetcher).fetch_offset == 2


@pytest.mark.parametrize(
    "records",
    [a_log([2])[:-1] + b"?", b"no batch at all " * 10, a_log([2])[:-1], a_log([2])[:20]],
    ids=["checksum", "magic", "cut short", "cut shorter"],
)
def test_bytes_that_lie_are_refused(records: bytes) -> None:
    fetcher = a_fetcher()
    with pytest.raises(CorruptRecords, match=r"orders\[0\] at offset 0"):
        fetch_and_drain(fetcher, records)


def test_what_is_good_before_bytes_that_are_no_batch_is_read_first() -> None:
    fetcher = a_fetcher()
    fetch(fetcher, a_log([2]) + b"no batch at all " * 10)
    assert offsets(drained(fetcher)) == [0, 1]
    with pytest.raises(CorruptRecords, match=r"orders\[0\] at offset 2") as raised:
        fetch(fetcher, b"no batch at all " * 10)
    assert (raised.value.offset, raised.value.next_offset) == (2, None)


def test_a_batch_whose_records_cannot_be_read_is_not_passed_over_unless_the_program_says_so() -> None:
    fetcher = a_fetcher()
    fetch(fetcher, a_log([2]) + with_header(a_log([3], base_offset=2), record_count=2) + a_log([2], base_offset=5))
    batch = fetcher.next_batch()
    assert batch is not None
    assert offsets(batch) == [0, 1]
    for _ in range(3):
        with pytest.raises(
            CorruptRecords, match=r"orders\[0\] at offset 2: .*; to leave .* out, seek to offset 5"
        ) as raised:
            fetcher.next_batch()
    error = raised.value
    assert (error.topic, error.partition, error.offset, error.next_offset) == ("orders", 0, 2, 5)
    assert error.next_offset is not None
    fetcher.place(the_cursor(fetcher, error.partition), error.next_offset)
    fetch(fetcher, a_log([2], base_offset=5))
    assert offsets(drained(fetcher)) == [5, 6]


def fetch_and_drain(fetcher: Fetcher, records: bytes) -> None:
    fetch(fetcher, records)
    drained(fetcher)


def test_an_answer_that_does_not_reach_what_was_asked_for_is_refused_instead_of_asked_for_ever() -> None:
    fetcher = a_fetcher()
    fetcher.place(the_cursor(fetcher), 50)
    with pytest.raises(CorruptRecords, match="does not reach"):
        fetch(fetcher, a_log([5]))


def test_an_answer_to_what_was_asked_before_a_seek_is_dropped() -> None:
    fetcher = a_fetcher()
    asked = ask(fetcher)
    fetcher.place(the_cursor(fetcher), 40)
    answered(fetcher, asked, an_answer(a_log([5])))
    assert drained(fetcher) == []
    assert the_cursor(fetcher).fetch_offset == 40


def test_seeking_drops_what_is_held_of_that_partition_alone() -> None:
    fetcher = a_fetcher(partitions=2)
    asked = ask(fetcher)
    fetcher.unask(asked)
    for partition in (0, 1):
        fetcher.accept(asked, an_answer(a_log([2]), partition=partition))
    fetcher.place(the_cursor(fetcher), 9)
    assert [(record.partition, record.offset) for record in drained(fetcher)] == [(1, 0), (1, 1)]


def test_no_more_is_asked_for_than_may_be_held() -> None:
    fetcher = a_fetcher(prefetch=1000, partition_bytes_max=600, partitions=4)
    first = fetcher.ask(fetcher.wanted(0.0)[:1])
    assert first.request.max_bytes == 600
    second = fetcher.ask(fetcher.wanted(0.0)[:1])
    assert second.request.max_bytes == 400
    assert fetcher.wanted(0.0) == []
    answered(fetcher, first, an_answer(a_log([200])))
    fetcher.unask(second)
    assert fetcher.wanted(0.0) == [], "a batch that is larger than all is held alone"
    drained(fetcher)
    assert len(fetcher.wanted(0.0)) == 4


def test_a_partition_is_asked_for_once_at_a_time_and_partitions_take_turns() -> None:
    fetcher = a_fetcher(partitions=3)
    asked = ask(fetcher)
    assert fetcher.wanted(0.0) == []
    answered(fetcher, asked, an_answer(a_log([1]), partition=0))
    assert [cursor.partition for cursor in fetcher.wanted(0.0)] == [1, 2, 0]


def test_a_partition_that_failed_rests_until_its_time() -> None:
    fetcher = a_fetcher(partitions=2)
    the_cursor(fetcher).retry_at = 5.0
    assert [cursor.partition for cursor in fetcher.wanted(4.0)] == [1]
    assert fetcher.next_retry(4.0) == 5.0
    assert fetcher.next_retry(5.0) is None


def test_what_a_partition_refuses_is_handed_on() -> None:
    fetcher = a_fetcher()
    asked = ask(fetcher)
    [trouble] = fetcher.accept(asked, an_answer(b"", code=ErrorCode.OFFSET_OUT_OF_RANGE))
    assert (trouble.cursor, trouble.code) == (the_cursor(fetcher), ErrorCode.OFFSET_OUT_OF_RANGE)


def test_an_answer_that_refuses_the_whole_fetch_raises() -> None:
    fetcher = a_fetcher()
    with pytest.raises(TidelogError, match="FETCH_SESSION_ID_NOT_FOUND"):
        fetcher.accept(ask(fetcher), FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND))


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=12),
    st.integers(0, 60),
    st.none() | st.integers(0, 60),
    st.lists(st.integers(1, 12), min_size=1, max_size=12),
)
def test_every_record_of_the_span_comes_once_however_the_log_is_cut_into_answers(
    sizes: list[int], start: int, end: int | None, cuts: list[int]
) -> None:
    count = sum(sizes)
    start = min(start, count)
    batches = [(sum(sizes[:index]), size) for index, size in enumerate(sizes)]
    fetcher = a_span(start, end)
    seen: list[Record] = []
    for cut in cuts * (count + 1):
        if fetcher.finished or the_cursor(fetcher).fetch_offset >= count:
            break
        offset = the_cursor(fetcher).fetch_offset
        following = [(base, size) for base, size in batches if base + size > offset][:cut]
        fetch(fetcher, b"".join(a_log([size], base_offset=base) for base, size in following))
        seen += drained(fetcher)
    assert offsets(seen) == list(range(start, count if end is None else max(start, min(end, count))))
