"""A data directory as a broker leaves it, small and with every kind of file: for those who look into its files."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from uuid import UUID

from tidelog.broker.metadata.records import Fact, TopicCreated, encode
from tidelog.protocol.records import build_batch
from tidelog.storage.checkpoint import replace_file
from tidelog.storage.config import LogConfig
from tidelog.storage.digests import SUFFIX as DIGEST_SUFFIX
from tidelog.storage.disk import Disk
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory
from tidelog.storage.survey import make_digest

from .builders import BASE_TIMESTAMP, a_batch
from .disk import SimulatedDisk
from .logs import append, flush

TOPIC_ID = UUID("0730b857-ac82-4b84-b81f-7d05647452ce")
METADATA_ID = UUID("00000000-0000-0000-0000-000000000001")
PRODUCER_ID = 7
RECORDS = 5
"""In a batch."""
BATCHES = 20
CONFIG = LogConfig(segment_bytes=1500, index_interval_bytes=200)
SEGMENTS = (0, 40, 75)
"""Base offsets of the segments of a log of so many batches."""


def make_directory(
    disk: Disk,
    names: Sequence[str] = ("orders-0",),
    *,
    facts: Sequence[Fact] | None = None,
    closed: bool = True,
    batches: int = BATCHES,
) -> None:
    """A directory with these logs, and the cluster's metadata, which tells of their topics unless told otherwise.

    Each log has three segments, the sealed ones with digests, and a snapshot of an idempotent producer.
    """
    directory = LogDirectory.open(disk, cluster_id=lambda: "J8SIkSqRSVufnG7QZEbfDg", now_ms=BASE_TIMESTAMP)
    partitions = {name.rpartition("-")[0]: 0 for name in names}
    for name in names:
        partitions[name.rpartition("-")[0]] += 1
    topics = [TopicCreated(name=topic, topic_id=id_of(topic), partitions=count) for topic, count in partitions.items()]
    metadata = directory.create_log("__cluster_metadata", 0, METADATA_ID, CONFIG, now_ms=BASE_TIMESTAMP)
    for fact in topics if facts is None else facts:
        append(metadata, build_batch([(None, encode(fact), (), BASE_TIMESTAMP)]), now_ms=BASE_TIMESTAMP)
    logs = [metadata]
    for name in names:
        topic, _, partition = name.rpartition("-")
        log = directory.create_log(topic, int(partition), id_of(topic), CONFIG, now_ms=BASE_TIMESTAMP)
        fill(log, batches)
        logs.append(log)
    for log in logs:
        flush(log)
        for segment in log.segments[:-1]:
            digest = make_digest(disk, segment.path, segment.base_offset, segment.next_offset, verified_ms=1)
            replace_file(disk, segment.stem + DIGEST_SUFFIX, digest.encode())
        if closed:
            log.close()
        else:
            log.write_mark()
            log.discard()
    if closed:
        directory.close()
    else:
        directory.release()


@cache
def files_of(names: tuple[str, ...]) -> dict[str, bytes]:
    """The files of a closed directory with these logs."""
    disk = SimulatedDisk()
    make_directory(disk, names)
    return disk.tree()


def write_directory(root: Path, names: Sequence[str]) -> None:
    """The same on a real disk, where nobody waits for it to be durable."""
    for name, data in files_of(tuple(names)).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def id_of(topic: str) -> UUID:
    """The id of a topic: each name has its own."""
    return UUID(int=TOPIC_ID.int + sum(topic.encode()))


def fill(log: Log, count: int) -> None:
    """Append batches of an idempotent producer, and flush what is sealed."""
    for number in range(count):
        values = [b"value %d of batch %d" % (index, number) for index in range(RECORDS)]
        batch = a_batch(
            values,
            base_timestamp=BASE_TIMESTAMP + 1000 * number,
            producer_id=PRODUCER_ID,
            producer_epoch=0,
            base_sequence=RECORDS * number,
        )
        append(log, batch, now_ms=BASE_TIMESTAMP)
