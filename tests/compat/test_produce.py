"""What each client writes is what another one reads, byte for byte, and lies in the log as it was sent."""

import pytest

from support.clients.features import READS_BACK, Case, feature
from support.clients.house import Clients, batches, fresh_name, of_partition, read, write
from support.clients.model import CODECS, EARLIEST, Read, Sent, Writing

SECTION = "Produce"
MIB = 1 << 20
AT_MS = 1_700_000_000_000


def assert_read_back(clients: Clients, case: Case, topic: str, records: list[Sent]) -> list[Read]:
    """Another client reads exactly these, each partition from offset 0 in its order."""
    reader = clients.open(READS_BACK[case.kind])
    found: list[Read] = []
    for partition in sorted({record.partition for record in records}):
        sent = [record for record in records if record.partition == partition]
        got = read(reader, of_partition(topic, EARLIEST, partition), len(sent))
        assert [(one.key, one.value, one.headers) for one in got] == [(one.key, one.value, one.headers) for one in sent]
        assert [(one.topic, one.partition, one.offset) for one in got] == [
            (topic, partition, offset) for offset in range(len(sent))
        ]
        found += got
    return found


@feature(SECTION, "batches of codec {}", verb="open_writer", variants=CODECS)
def test_batches_of_every_codec(clients: Clients, case: Case) -> None:
    """B-16: the log keeps the codec that the client chose, so nobody decoded it on the way."""
    topic = clients.topic()
    records = [Sent(key=b"%d" % (number % 7), value=b"value %d " % number * 20) for number in range(300)]
    write(clients.open(case.kind), topic, records, Writing(codec=case.variant, linger_ms=50))
    assert_read_back(clients, case, topic, records)
    headers = batches(clients.broker, topic)
    assert {CODECS[header.codec] for header in headers} == {case.variant}
    assert sum(header.record_count for header in headers) == 300


@feature(SECTION, "headers, several of one name among them", verb="open_writer")
def test_headers(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    headers = (("trace", b"7"), ("empty", b""), ("trace", b"8"))
    if case.kind.name == "kafkajs":
        headers = (("trace", b"7"), ("trace", b"8"), ("empty", b""))  # it gathers those of one name
    records = [Sent(key=b"k", value=b"with", headers=headers), Sent(key=b"k", value=b"without")]
    write(clients.open(case.kind), topic, records)
    assert_read_back(clients, case, topic, records)


@feature(SECTION, "a header without a value", verb="open_writer")
def test_a_header_without_a_value(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    records = [Sent(key=b"k", value=b"v", headers=(("null", None), ("empty", b"")))]
    write(clients.open(case.kind), topic, records)
    assert_read_back(clients, case, topic, records)


@feature(SECTION, "a null key, a null value, an empty value", verb="open_writer")
def test_null_and_empty(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    records = [
        Sent(key=None, value=b"no key"),
        Sent(key=b"tombstone", value=None),
        Sent(key=b"empty", value=b""),
    ]
    write(clients.open(case.kind), topic, records)
    assert_read_back(clients, case, topic, records)


@feature(SECTION, "a value of 1 MiB", verb="open_writer")
def test_a_value_of_one_mebibyte(clients: Clients, case: Case) -> None:
    topic = clients.topic(max_message_bytes=str(2 * MIB))
    value = bytes(range(32, 127)) * (MIB // 95 + 1)
    values = [b"small", value[:MIB], b"after it"]
    records = [Sent(key=b"k", value=value) for value in values]
    write(clients.open(case.kind), topic, records)
    assert_read_back(clients, case, topic, records)


@feature(SECTION, "a batch that is too large is refused", verb="open_writer")
def test_a_batch_that_is_too_large_is_refused(clients: Clients, case: Case) -> None:
    """B-4: the client is told, nothing is stored, and what comes next is."""
    topic = clients.topic(max_message_bytes="10000")
    client = clients.open(case.kind)
    with pytest.raises(Exception, match=r"(?i)MESSAGE_?\s?(SIZE_)?TOO_?\s?LARGE|size too large|larger than"):
        write(client, topic, [Sent(key=b"large", value=b"x" * 20_000)])
    records = [Sent(key=b"fits", value=b"small")]
    write(client, topic, records)
    assert_read_back(clients, case, topic, records)


@feature(SECTION, "many records become few batches", verb="open_writer")
def test_many_records_become_few_batches(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    records = [Sent(key=b"%d" % number, value=b"x" * 20) for number in range(2_000)]
    write(clients.open(case.kind), topic, records, Writing(linger_ms=50, batch_size=20_000))
    assert_read_back(clients, case, topic, records)
    assert len(batches(clients.broker, topic)) <= 200


@feature(SECTION, "acks={}", verb="open_writer", variants=("0", "1", "all"))
def test_acks(clients: Clients, case: Case) -> None:
    """B-10: without acknowledgements there is no answer at all, and the connection goes on."""
    topic = clients.topic()
    client = clients.open(case.kind)
    writer = client.open_writer(Writing(acks={"0": 0, "1": 1, "all": -1}[case.variant]))
    records = [Sent(key=b"k", value=b"%d" % number) for number in range(60)]
    for start in range(0, 60, 20):
        writer.send(topic, records[start : start + 20])
    writer.close()
    assert_read_back(clients, case, topic, records)


@feature(SECTION, "idempotent", verb="open_writer")
def test_idempotent(clients: Clients, case: Case) -> None:
    """I-2, I-3: one producer id, and sequences without a gap."""
    topic = clients.topic()
    writer = clients.open(case.kind).open_writer(Writing(idempotent=True, lasting=True))
    records = [Sent(key=b"k", value=b"%d" % number) for number in range(100)]
    for start in range(0, 100, 25):
        writer.send(topic, records[start : start + 25])
    writer.close()
    assert_read_back(clients, case, topic, records)
    headers = batches(clients.broker, topic)
    assert len({header.producer_id for header in headers}) == 1
    assert [header.base_sequence for header in headers] == [header.base_offset for header in headers]
    assert all(header.producer_id >= 0 and header.producer_epoch >= 0 for header in headers)


@feature(SECTION, "not idempotent", verb="open_writer")
def test_not_idempotent(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    records = [Sent(key=b"k", value=b"%d" % number) for number in range(100)]
    write(clients.open(case.kind), topic, records, Writing(idempotent=False))
    assert_read_back(clients, case, topic, records)
    assert {header.producer_id for header in batches(clients.broker, topic)} == {-1}


@feature(SECTION, "the partition that is named", verb="open_writer")
def test_the_partition_that_is_named(clients: Clients, case: Case) -> None:
    topic = clients.topic(partitions=5)
    records = [Sent(key=b"k", value=b"%d" % number, partition=number % 4) for number in range(40)]
    write(clients.open(case.kind), topic, records)
    assert_read_back(clients, case, topic, records)
    assert batches(clients.broker, topic, 4) == []


@feature(SECTION, "timestamps of the program", verb="open_writer")
def test_timestamps_of_the_program(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    times = [AT_MS + 1000, AT_MS, AT_MS + 5000]
    records = [Sent(key=b"k", value=b"%d" % at, timestamp_ms=at) for at in times]
    write(clients.open(case.kind), topic, records)
    found = assert_read_back(clients, case, topic, records)
    assert [one.timestamp_ms for one in found] == times


@feature(SECTION, "timestamps of the broker (LogAppendTime)", verb="open_writer")
def test_timestamps_of_the_broker(clients: Clients, case: Case) -> None:
    """B-15."""
    topic = clients.topic(message_timestamp_type="LogAppendTime")
    records = [Sent(key=b"k", value=b"%d" % number) for number in range(3)]
    write(clients.open(case.kind), topic, records)
    found = assert_read_back(clients, case, topic, records)
    headers = batches(clients.broker, topic)
    assert all(header.is_log_append_time for header in headers)
    assert {one.timestamp_ms for one in found} == {header.max_timestamp for header in headers}


@feature(SECTION, "the offset of the acknowledgement", verb="open_writer")
def test_the_offset_of_the_acknowledgement(clients: Clients, case: Case) -> None:
    topic = clients.topic(partitions=2)
    writer = clients.open(case.kind).open_writer(Writing())
    first = [Sent(key=b"k", value=b"a", partition=number % 2) for number in range(10)]
    second = [Sent(key=b"k", value=b"b", partition=1) for _ in range(10)]
    assert writer.send(topic, first) == {0: 0, 1: 0}
    assert writer.send(topic, second) == {1: 5}
    writer.close()
    assert_read_back(clients, case, topic, [*first, *second])


@feature(SECTION, "a topic that is made by writing to it", verb="open_writer")
def test_a_topic_that_is_made_by_writing_to_it(clients: Clients, case: Case) -> None:
    """L-16."""
    topic = fresh_name()
    records = [Sent(key=b"k", value=b"%d" % number) for number in range(5)]
    write(clients.open(case.kind), topic, records, Writing(creates_topics=True))
    assert_read_back(clients, case, topic, records)
