"""Each client reads what another one wrote: from where it asks, all of it, in order, and no more than it asks for."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from support.clients.aio import AioClient
from support.clients.confluent import ConfluentClient
from support.clients.features import READS_BACK, Case, feature
from support.clients.house import Clients, Node, batches, of_partition, read, requests, write
from support.clients.kcat import KcatClient
from support.clients.model import CODECS, EARLIEST, LATEST, Client, Origin, Reading, Sent, Start, Writing
from support.clients.node import PlatformaticClient
from support.process import BrokerProcess

SECTION = "Consume without a group"
AT_MS = 1_700_000_000_000
STEP_MS = 10
COUNT = 200


def records_of(count: int = COUNT, *, size: int = 0) -> list[Sent]:
    """Records that tell which they are."""
    return [
        Sent(
            key=b"key %d" % (number % 7),
            value=(b"%d " % number).ljust(size, b"."),
            headers=(("number", b"%d" % number),),
            timestamp_ms=AT_MS + STEP_MS * number,
        )
        for number in range(count)
    ]


def written(clients: Clients, case: Case, records: list[Sent], how: Writing | None = None) -> str:
    """A topic into which another client has written these, in a few batches."""
    topic = clients.topic()
    kind = AioClient if READS_BACK[case.kind] is KcatClient else READS_BACK[case.kind]  # kcat writes no timestamps
    writer = clients.open(kind).open_writer(how or Writing())
    third = len(records) // 3
    for part in (records[:third], records[third : 2 * third], records[2 * third :]):
        writer.send(topic, part)
    writer.close()
    return topic


def assert_reads(clients: Clients, case: Case, place: Reading, expected: list[Sent], *, first: int = 0) -> None:
    """From the start on, the client reads exactly these, the first of which has that offset."""
    found = read(clients.open(case.kind), place, len(expected))
    [(topic, _)] = place.starts
    assert [(one.key, one.value, one.headers, one.timestamp_ms) for one in found] == [
        (one.key, one.value, one.headers, one.timestamp_ms) for one in expected
    ]
    assert [(one.topic, one.partition, one.offset) for one in found] == [
        (topic, 0, first + number) for number in range(len(expected))
    ]


@feature(SECTION, "from the earliest record", verb="open_reader")
def test_from_the_earliest_record(clients: Clients, case: Case) -> None:
    """L-6."""
    records = records_of()
    assert_reads(clients, case, of_partition(written(clients, case, records), EARLIEST), records)


@feature(SECTION, "from the latest: only what comes afterwards", verb="open_reader")
def test_from_the_latest(clients: Clients, case: Case) -> None:
    topic = written(clients, case, records_of())
    reader = clients.open(case.kind).open_reader(of_partition(topic, LATEST))
    write(clients.open(READS_BACK[case.kind]), topic, [Sent(key=b"k", value=b"after")])
    [found] = reader.read(1)
    reader.close()
    assert (found.offset, found.value) == (COUNT, b"after")


@feature(SECTION, "the last so many records", verb="open_reader")
def test_the_last_so_many_records(clients: Clients, case: Case) -> None:
    records = records_of()
    place = of_partition(written(clients, case, records), Start(Origin.LAST, 3))
    assert_reads(clients, case, place, records[-3:], first=COUNT - 3)


@feature(SECTION, "from an offset in the middle of a batch", verb="open_reader")
def test_from_an_offset_in_the_middle_of_a_batch(clients: Clients, case: Case) -> None:
    """L-5: the broker sends the whole batch, and the client drops what stands before."""
    records = records_of()
    topic = written(clients, case, records, Writing(linger_ms=50))
    ends = [header.next_offset for header in batches(clients.broker, topic)]
    assert len(ends) < COUNT
    middle = next(offset for offset in range(COUNT // 2, COUNT) if offset not in ends)
    assert_reads(clients, case, of_partition(topic, Start(Origin.OFFSET, middle)), records[middle:], first=middle)


@feature(SECTION, "from a time", verb="open_reader")
def test_from_a_time(clients: Clients, case: Case) -> None:
    """L-6: the first record that is not older, also in the middle of a batch; after the last one, the end."""
    records = records_of()
    topic = written(clients, case, records, Writing(codec="gzip", linger_ms=50))
    between = AT_MS + STEP_MS * 90 + 1
    assert_reads(clients, case, of_partition(topic, Start(Origin.TIME, between)), records[91:], first=91)
    later = Start(Origin.TIME, AT_MS + STEP_MS * COUNT, is_the_end=True)
    reader = clients.open(case.kind).open_reader(of_partition(topic, later))
    write(clients.open(READS_BACK[case.kind]), topic, [Sent(key=b"k", value=b"after")])
    last = reader.read(1)[-1]
    reader.close()
    assert last.value == b"after"


@feature(SECTION, "an offset that does not exist leads to the earliest record", verb="open_reader")
def test_an_offset_that_does_not_exist(clients: Clients, case: Case) -> None:
    """L-1: the broker refuses it, and the client does what auto.offset.reset says."""
    records = records_of()
    nowhere = Start(Origin.OFFSET, 1_000_000)
    assert_reads(clients, case, of_partition(written(clients, case, records), nowhere), records)


@feature(SECTION, "batches of codec {} are read", verb="open_reader", variants=CODECS)
def test_batches_of_every_codec_are_read(clients: Clients, case: Case) -> None:
    """Written by a client that never leaves its codec out."""
    topic = clients.topic()
    records = records_of()
    how = Writing(codec=case.variant, linger_ms=50)
    writer: type[Client] = AioClient if case.kind is not AioClient else READS_BACK[ConfluentClient]
    if case.kind is PlatformaticClient:
        writer = ConfluentClient  # it reads snappy only without the frames that most clients write around it
        how = replace(how, linger_ms=10_000)  # all in one batch, for a small one it does not compress; a flush ends it
    write(clients.open(writer), topic, records, how)
    assert {CODECS[header.codec] for header in batches(clients.broker, topic)} == {case.variant}
    assert_reads(clients, case, of_partition(topic, EARLIEST), records)


@feature(SECTION, "the end of a partition is told", verb="read_to_the_end")
def test_the_end_of_a_partition_is_told(clients: Clients, case: Case) -> None:
    records = records_of()
    topic = written(clients, case, records)
    client = clients.open(case.kind)
    assert [one.value for one in client.read_to_the_end(of_partition(topic, EARLIEST))] == [
        one.value for one in records
    ]
    assert client.read_to_the_end(of_partition(topic, LATEST)) == []
    assert client.read_to_the_end(of_partition(clients.topic(), EARLIEST)) == []


@feature(SECTION, "the limit of bytes for each partition", verb="open_reader")
def test_the_limit_of_bytes_for_each_partition(clients: Clients, case: Case) -> None:
    """F-2: a batch that is larger than the limit comes alone, and nothing is lost: one fetch a batch."""
    topic = clients.topic()
    records = records_of(30, size=4_000)
    writer = clients.open(READS_BACK[case.kind]).open_writer(Writing())
    for record in records:
        writer.send(topic, [record])
    writer.close()
    before = requests(clients.broker, "Fetch")
    reading = Reading(starts={(topic, 0): EARLIEST}, partition_bytes_max=2_000)
    found = read(clients.open(case.kind), reading, len(records))
    assert [one.value for one in found] == [one.value for one in records]
    assert requests(clients.broker, "Fetch") - before >= len(batches(clients.broker, topic)) == 30


@feature(SECTION, "the limit of bytes for all partitions together", verb="open_reader")
def test_the_limit_of_bytes_for_all_partitions(clients: Clients, case: Case) -> None:
    """F-2: it goes round: no partition starves, and each keeps its order."""
    topic = clients.topic(partitions=4)
    writer = clients.open(READS_BACK[case.kind]).open_writer(Writing())
    values = {partition: [b"%d of %d ".ljust(3_000, b".") % (n, partition) for n in range(8)] for partition in range(4)}
    for number in range(8):
        writer.send(topic, [Sent(value=values[partition][number], partition=partition) for partition in range(4)])
    writer.close()
    before = requests(clients.broker, "Fetch")
    reading = Reading(starts={(topic, partition): EARLIEST for partition in range(4)}, bytes_max=4_000)
    found = read(clients.open(case.kind), reading, 32)
    for partition in range(4):
        got = [(one.offset, one.value) for one in found if one.partition == partition]
        assert got == list(enumerate(values[partition]))
    assert requests(clients.broker, "Fetch") - before >= 16


@pytest.fixture(scope="module")
def wide(cluster: BrokerProcess, node: Node) -> Iterator[list[str]]:
    """50 topics of 20 partitions, of three records each, written by a client that reads none of them."""
    opened = Clients(cluster, node)
    topics = [opened.topic(partitions=20, write_caching="true") for _ in range(50)]
    writer = opened.open(PlatformaticClient).open_writer(Writing())
    for topic in topics:
        writer.send(topic, [Sent(value=b"%d" % n, partition=partition) for n in range(3) for partition in range(20)])
    writer.close()
    yield topics
    opened.close()


@feature(SECTION, "50 topics of 20 partitions in one go", verb="open_reader")
def test_fifty_topics_of_twenty_partitions(clients: Clients, wide: list[str], case: Case) -> None:
    places = [(topic, partition) for topic in wide for partition in range(20)]
    found = read(clients.open(case.kind), Reading(starts=dict.fromkeys(places, EARLIEST)), 3 * len(places))
    for topic, partition in places:
        got = [(one.offset, one.value) for one in found if (one.topic, one.partition) == (topic, partition)]
        assert got == [(number, b"%d" % number) for number in range(3)]


@feature(SECTION, "a log is followed while it grows", verb="open_reader")
def test_a_log_is_followed_while_it_grows(clients: Clients, case: Case) -> None:
    """F-1: an append wakes the fetch that waits."""
    topic = clients.topic()
    reader = clients.open(case.kind).open_reader(of_partition(topic, EARLIEST))
    writer = clients.open(READS_BACK[case.kind]).open_writer(Writing())
    for number in range(10):
        writer.send(topic, [Sent(key=b"k", value=b"%d" % number)])
        [found] = reader.read(1)
        assert (found.offset, found.value) == (number, b"%d" % number)
    writer.close()
    reader.close()


@feature(SECTION, "the offsets of the beginning, the end and a time", verb="find_offset")
def test_offsets_are_found(clients: Clients, case: Case) -> None:
    """L-6."""
    topic = clients.topic()
    records = records_of()
    late = Sent(key=b"k", value=b"late", timestamp_ms=AT_MS + STEP_MS * 50 + 1)
    write(clients.open(AioClient), topic, [*records, late], Writing(codec="gzip", linger_ms=50))
    client = clients.open(case.kind)
    assert client.find_offset(topic, 0, EARLIEST).offset == 0
    assert client.find_offset(topic, 0, LATEST).offset == COUNT + 1
    found = client.find_offset(topic, 0, Start(Origin.TIME, AT_MS + STEP_MS * 45 - 5))
    assert found.offset == 45
    assert found.timestamp_ms in (None, AT_MS + STEP_MS * 45)


@feature(SECTION, "the offset of the greatest timestamp", verb="find_offset")
def test_the_offset_of_the_greatest_timestamp(clients: Clients, case: Case) -> None:
    """L-6: that of the record, not of its batch."""
    topic = clients.topic()
    times = [AT_MS, AT_MS + 9_000, AT_MS + 5_000, AT_MS + 1_000]
    records = [Sent(key=b"k", value=b"%d" % at, timestamp_ms=at) for at in times]
    write(clients.open(AioClient), topic, records, Writing(codec="gzip", linger_ms=50))
    found = clients.open(case.kind).find_offset(topic, 0, Start(Origin.MAX_TIMESTAMP))
    assert found.offset == 1
    assert found.timestamp_ms in (None, AT_MS + 9_000)
