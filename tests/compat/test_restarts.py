"""What becomes of a client's work when it, the broker or the topic goes away and comes back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from support.clients.confluent import ConfluentClient
from support.clients.features import READS_BACK, Case, feature
from support.clients.house import Clients, batches, of_partition, read, write
from support.clients.model import (
    EARLIEST,
    Client,
    ClientFailed,
    NewTopic,
    Origin,
    Read,
    Reader,
    Refused,
    Sent,
    Start,
    Writing,
)

SECTION = "Restarts"
WAYS = ("stopped", "killed (kill -9)")
CODEC = "gzip"
LENGTHS = {"shorter": 60, "longer": 5}
"""How many records the old topic had; the new one has 20 when its reader finds it."""


def records(word: str, count: int = 20) -> list[Sent]:
    """Records that tell when they were written."""
    return [Sent(key=b"k", value=f"{word} {number}".encode()) for number in range(count)]


def restart(clients: Clients, way: str) -> None:
    """End the broker in this way and start it again."""
    end: Callable[[], object] = clients.broker.stop if way == "stopped" else clients.broker.kill
    end()
    clients.broker.start()


def values(found: list[Read]) -> list[bytes | None]:
    """What they say."""
    return [one.value for one in found]


def in_order(found: list[Read]) -> bool:
    """Whether no offset is missing, double or misplaced."""
    return [one.offset for one in found] == list(range(len(found)))


@feature(SECTION, "a new producer goes on where the last one ended", verb="open_writer")
def test_a_new_producer_goes_on(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    sent = []
    for word in ("first", "second", "third"):
        client = clients.open(case.kind)
        part = records(word)
        write(client, topic, part, Writing(idempotent=True))
        sent += part
    found = read(clients.open(READS_BACK[case.kind]), of_partition(topic, EARLIEST), len(sent))
    assert values(found) == [one.value for one in sent]
    assert in_order(found)


@feature(SECTION, "a new consumer goes on where the last one ended", verb="open_reader")
def test_a_new_consumer_goes_on(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    sent = records("only", 100)
    write(clients.open(READS_BACK[case.kind]), topic, sent, Writing(codec=CODEC, linger_ms=50))
    found: list[Read] = []
    for count in (33, 33, 34):
        start = Start(Origin.OFFSET, len(found))
        found += read(clients.open(case.kind), of_partition(topic, start), count)
    assert values(found) == [one.value for one in sent]
    assert in_order(found)


@feature(SECTION, "a producer outlives a broker that is {} and started again", verb="open_writer", variants=WAYS)
def test_a_producer_outlives_the_broker(own: Clients, case: Case) -> None:
    """I-7: what was acknowledged is there once, in order, and so is what was sent afterwards."""
    topic = own.topic()
    writer = own.open(case.kind).open_writer(Writing(idempotent=True, lasting=True))
    before, after = records("before"), records("after")
    writer.send(topic, before)
    restart(own, case.variant)
    writer.send(topic, after)
    writer.close()
    found = read(own.open(READS_BACK[case.kind]), of_partition(topic, EARLIEST), len(before) + len(after))
    assert values(found) == [one.value for one in (*before, *after)]
    assert in_order(found)
    assert len({header.producer_id for header in batches(own.broker, topic)}) == 1


@feature(SECTION, "a consumer outlives a broker that is {} and started again", verb="open_reader", variants=WAYS)
def test_a_consumer_outlives_the_broker(own: Clients, case: Case) -> None:
    topic = own.topic()
    writer = READS_BACK[case.kind]
    reader = own.open(case.kind).open_reader(of_partition(topic, EARLIEST))
    write(own.open(writer), topic, records("before"))
    found = reader.read(20)
    restart(own, case.variant)
    write(own.open(writer), topic, records("after"))
    found += reader.read(20)
    reader.close()
    assert values(found) == [one.value for one in (*records("before"), *records("after"))]
    assert in_order(found)


def recreated(clients: Clients, topic: str) -> None:
    """Delete the topic and make another one of its name."""
    admin = clients.open(ConfluentClient)
    admin.delete_topic(topic)
    admin.create_topic(NewTopic(name=topic))


def read_while_written(clients: Clients, kind: type[Client], topic: str, reader: Reader) -> list[Read]:
    """What a reader of a topic that was made anew reads next, while the topic grows, and all that follows.

    It may be told that something is wrong: a program then opens the topic again. It may begin anew, go on at its
    position, or (KIP-320) at the end that the new log had when it was told. What it may not do is read nothing.
    """
    writer = clients.open(READS_BACK[kind]).open_writer(Writing())
    count = len(records("new"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(reader.read, 1)
        while not first.done():
            writer.send(topic, [Sent(key=b"k", value=b"new %d" % count)])
            count += 1
            wait([first], timeout=0.1)
    writer.close()
    try:
        found = first.result()
    except (Refused, ClientFailed):
        return read(clients.open(kind), of_partition(topic, EARLIEST), count)
    return found + reader.read(count - found[0].offset - 1)


@feature(
    SECTION, "a reader of a topic that is deleted and made anew, {} than it was", verb="open_reader", variants=LENGTHS
)
def test_a_reader_of_a_topic_made_anew(clients: Clients, case: Case) -> None:
    """L-14: it reads the new topic's records, each at its offset, and never hangs on the old log."""
    topic = clients.topic()
    old = records("old", LENGTHS[case.variant])
    write(clients.open(READS_BACK[case.kind]), topic, old)
    reader = clients.open(case.kind).open_reader(of_partition(topic, EARLIEST))
    assert values(reader.read(len(old))) == [one.value for one in old]
    recreated(clients, topic)
    write(clients.open(READS_BACK[case.kind]), topic, records("new"))
    found = read_while_written(clients, case.kind, topic, reader)
    reader.close()
    assert values(found) == [b"new %d" % one.offset for one in found]
    assert [one.offset for one in found] == list(range(found[0].offset, found[-1].offset + 1))


@feature(SECTION, "a producer to a topic that is deleted and made anew", verb="open_writer")
def test_a_producer_to_a_topic_made_anew(clients: Clients, case: Case) -> None:
    """L-14: nothing of the old topic's producers is left to refuse the new records, and nothing goes to the old log."""
    topic = clients.topic()
    writer = clients.open(case.kind).open_writer(Writing(idempotent=True, lasting=True))
    writer.send(topic, records("old"))
    recreated(clients, topic)
    writer.send(topic, records("new"))
    writer.close()
    found = read(clients.open(READS_BACK[case.kind]), of_partition(topic, EARLIEST), 20)
    assert values(found) == [one.value for one in records("new")]
    assert in_order(found)
