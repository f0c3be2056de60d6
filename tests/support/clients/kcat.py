"""kcat as a driver of the compatibility suite (in Debian 12 on librdkafka 2.0): each writer and reader is a process."""

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import IO, ClassVar

from .membership import HEARTBEAT_MS, METADATA_AGE_MS, POLL_S, SESSION_MS, ThreadedMember
from .model import (
    FETCH_WAIT_MS,
    PATIENCE_S,
    Client,
    ClientFailed,
    ClusterSeen,
    Joining,
    OffsetSeen,
    Origin,
    Place,
    Read,
    Reading,
    Sent,
    Start,
    TopicSeen,
    Writing,
)

RECORD_END = b"\x1e\n"
KEY_END = b"\x1f"
"""Control characters that no test's key or value holds."""
FORMAT = "%t %p %o %T %K %S %h\\n%k%s\\n"
READ_SIZE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Records that one process can write: kcat takes all these for good when it starts."""

    partition: int
    headers: tuple[tuple[str, bytes | None], ...]
    has_keys: bool
    has_values: bool

    @classmethod
    def of(cls, record: Sent) -> "Run":
        """The run that a record belongs to."""
        return cls(
            partition=record.partition,
            headers=record.headers,
            has_keys=record.key is not None,
            has_values=record.value is not None,
        )

    def options(self) -> list[str]:
        """Of the command line."""
        words = ["-p", str(self.partition), "-D", "\\x1e\\n"]
        words += ["-K", "\\x1f"] if self.has_keys else []
        words += [] if self.has_values else ["-Z"]
        for name, value in self.headers:
            assert value is not None, "kcat cannot write a header without a value"
            words += ["-H", f"{name}={value.decode()}"]
        return words


class KcatWriter:
    """`kcat -P`: a process for each run of records that are alike, or one that gets all of them when it is closed.

    kcat reads its input in large pieces: it cannot be asked to write something now, and something else later.
    """

    def __init__(self, server: str, how: Writing) -> None:
        self._lasting = how.lasting
        self._kept: list[tuple[str, Sent]] = []
        self._command = ["kcat", "-P", "-E", "-b", server, "-X", f"acks={how.acks}", "-z", how.codec]
        settings = {
            "enable.idempotence": str(how.idempotent).lower(),
            "linger.ms": how.linger_ms,
            "message.max.bytes": 4 << 20,
            "message.timeout.ms": int(PATIENCE_S * 1000),
            "allow.auto.create.topics": str(how.creates_topics).lower(),
        }
        if how.batch_size is not None:
            settings["batch.size"] = how.batch_size
        for name, value in settings.items():
            self._command += ["-X", f"{name}={value}"]

    def send(self, topic: str, records: Sequence[Sent]) -> Mapping[int, int]:
        """Write them; kcat ends when all are acknowledged, and tells no offsets."""
        if self._lasting:
            self._kept += [(topic, record) for record in records]
            return {}
        # Within a partition they keep their order.
        for run, alike in groupby(sorted(records, key=lambda record: record.partition), Run.of):
            self._write(topic, run, alike)
        return {}

    def close(self) -> None:
        """Write what was kept for one process."""
        if self._kept:
            [topic] = {topic for topic, _ in self._kept}
            [run] = {Run.of(record) for _, record in self._kept}
            self._write(topic, run, [record for _, record in self._kept])

    def _write(self, topic: str, run: Run, records: Iterable[Sent]) -> None:
        done = subprocess.run(
            [*self._command, "-t", topic, *run.options()],
            input=b"".join(map(_spelled_record, records)),
            capture_output=True,
            timeout=PATIENCE_S + 15,
            check=False,
        )
        said = done.stderr.decode()
        if done.returncode != 0 or "Delivery failed" in said or "ERROR" in said:
            raise ClientFailed(said)


class KcatReader:
    """`kcat -C`, of one topic."""

    def __init__(self, server: str, how: Reading, *options: str) -> None:
        topics = {topic for topic, _ in how.starts}
        starts = set(how.starts.values())
        assert len(topics) == len(starts) == 1, "kcat reads one topic, from one start"
        [start] = starts
        command = ["kcat", "-C", "-E", "-u", "-b", server, "-t", topics.pop(), "-o", _spelled_start(start), *options]
        command += ["-f", FORMAT, "-X", "topic.auto.offset.reset=earliest", "-X", f"fetch.wait.max.ms={FETCH_WAIT_MS}"]
        if len(how.starts) == 1:
            [(_, partition)] = how.starts
            command += ["-p", str(partition)]
        if how.partition_bytes_max is not None:
            command += ["-X", f"fetch.message.max.bytes={how.partition_bytes_max}"]
        if how.bytes_max is not None:
            command += ["-X", f"message.max.bytes={how.bytes_max}", "-X", f"fetch.max.bytes={how.bytes_max}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._records = Stream(self._process.stdout)
        self._remarks = Stream(self._process.stderr)
        if start.is_the_end:
            for _ in how.starts:
                self._await_the_end()

    def read(self, count: int) -> list[Read]:
        """So many records."""
        try:
            return [record_of(self._records) for _ in range(count)]
        except EOFError:
            raise ClientFailed(f"kcat ended: {self._remarks.rest().decode()}") from None

    def read_to_the_end(self) -> list[Read]:
        """Until kcat ends by itself."""
        found: list[Read] = []
        while not self._records.has_ended():
            found.append(record_of(self._records))
        self._process.wait(PATIENCE_S)
        if self._process.returncode != 0:
            raise ClientFailed(self._remarks.rest().decode())
        return found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _await_the_end(self) -> None:
        while b"Reached end of topic" not in self._remarks.line():
            pass


class Stream:
    """A pipe that is read with patience."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._held = b""

    def line(self) -> bytes:
        """Up to a newline, which is dropped."""
        while b"\n" not in self._held:
            self._more()
        line, _, self._held = self._held.partition(b"\n")
        return line

    def take(self, size: int) -> bytes | None:
        """So many bytes; None for -1, which stands for null."""
        if size < 0:
            return None
        while len(self._held) < size:
            self._more()
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def is_waiting(self, seconds: float) -> bool:
        """Whether something can be read now, or within so long."""
        return bool(self._held) or bool(select.select([self._pipe], [], [], seconds)[0])

    def has_ended(self) -> bool:
        """Whether the other side has closed it and all was read."""
        try:
            while not self._held:
                self._more()
        except EOFError:
            return True
        return False

    def rest(self) -> bytes:
        """All that is left, after the other side has ended."""
        return self._held + (self._pipe.read() or b"")

    def _more(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        readable, _, _ = select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise ClientFailed("nothing more came")
        piece = os.read(self._pipe.fileno(), READ_SIZE)
        if not piece:
            raise EOFError
        self._held += piece


class KcatMember(ThreadedMember):
    """`kcat -G`, which commits by itself what it has written out, and tells its partitions on stderr."""

    def __init__(self, server: str, how: Joining) -> None:
        super().__init__()
        settings: dict[str, str | int] = {
            "auto.offset.reset": "latest" if how.from_the_end else "earliest",
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "topic.metadata.refresh.interval.ms": METADATA_AGE_MS,
            "reconnect.backoff.max.ms": 500,
            "partition.assignment.strategy": "cooperative-sticky" if how.is_cooperative else "range",
        }
        if how.instance_id is not None:
            settings["group.instance.id"] = how.instance_id
        command = ["kcat", "-E", "-u", "-b", server, "-f", FORMAT]
        for name, value in settings.items():
            command += ["-X", f"{name}={value}"]
        command += ["-G", how.group, *(how.topics if how.pattern is None else (how.pattern,))]
        self._is_incremental = how.is_cooperative
        self._held: frozenset[Place] = frozenset()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._records = Stream(self._process.stdout)
        self._remarks = Stream(self._process.stderr)
        self.start()

    def poll(self) -> list[Read]:
        """What it has written, and said."""
        if self._process.poll() is not None:
            raise ClientFailed(f"kcat ended: {self._remarks.rest().decode()}")
        while self._remarks.is_waiting(0):
            self._hear(self._remarks.line().decode())
        found: list[Read] = []
        while self._records.is_waiting(0 if found else POLL_S):
            found.append(record_of(self._records))
        return found

    def leave(self) -> None:
        """SIGTERM."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _hear(self, remark: str) -> None:
        told = re.search(r"rebalanced.*?(assign|revoke)", remark)
        if told is None:
            return
        named = frozenset((topic, int(partition)) for topic, partition in re.findall(r"(\S+) \[(\d+)\]", remark))
        if told[1] == "revoke":
            self._held -= named
        else:
            self._held = self._held | named if self._is_incremental else named
        self.inbox.hold(self._held)


class KcatClient(Client):
    """kcat in its modes -P, -C, -G, -L and -Q."""

    name: ClassVar[str] = "kcat"
    version: ClassVar[str] = "1.7"
    commits_by_hand: ClassVar[bool] = False
    cannot: ClassVar[Mapping[str, str]] = {
        "where offsets were committed by hand the next member goes on, by the classic protocol": "it commits by itself",
        "metadata of a commit": "it commits by itself",
        "seek to an offset": "it has no call for it",
        "pause and resume a partition": "it has no call for it",
        "a header without a value": "-H writes an empty one",
        "timestamps of the program": "it has no option for them",
        "the offset of the acknowledgement": "it shows none",
        "50 topics of 20 partitions in one go": "it reads one topic",
        "the offset of the greatest timestamp": "it has no name for it",
        **dict.fromkeys(
            (
                "a producer outlives a broker that is stopped and started again",
                "a producer outlives a broker that is killed (kill -9) and started again",
                "a producer to a topic that is deleted and made anew",
            ),
            "it reads its input in large pieces, so a test cannot put anything between two records",
        ),
    }

    def __init__(self, server: str) -> None:
        self._server = server

    def open_writer(self, how: Writing) -> KcatWriter:
        """kcat -P."""
        return KcatWriter(self._server, how)

    def open_reader(self, how: Reading) -> KcatReader:
        """kcat -C."""
        return KcatReader(self._server, how)

    def join_group(self, how: Joining) -> KcatMember:
        """kcat -G."""
        return KcatMember(self._server, how)

    def read_to_the_end(self, how: Reading) -> list[Read]:
        """kcat -C -e."""
        reader = KcatReader(self._server, how, "-e")
        found = reader.read_to_the_end()
        reader.close()
        return found

    def list_topics(self) -> set[str]:
        """kcat -L."""
        return {topic["topic"] for topic in self._listing()["topics"]}

    def describe_topic(self, topic: str) -> TopicSeen:
        """kcat -L -t."""
        [seen] = self._listing("-t", topic)["topics"]
        if "error" in seen:
            raise ClientFailed(seen["error"])
        return TopicSeen(
            name=seen["topic"],
            leaders={row["partition"]: row["leader"] for row in seen["partitions"]},
            replicas={row["partition"]: tuple(node["id"] for node in row["replicas"]) for row in seen["partitions"]},
        )

    def describe_cluster(self) -> ClusterSeen:
        """kcat -L."""
        seen = self._listing()
        return ClusterSeen(
            nodes={node["id"]: node["name"] for node in seen["brokers"]},
            controller=seen["controllerid"],
            cluster_id=None,
        )

    def find_offset(self, topic: str, partition: int, start: Start) -> OffsetSeen:
        """kcat -Q."""
        asked = {Origin.EARLIEST: -2, Origin.LATEST: -1}.get(start.origin, start.number)
        said = self._run("-Q", "-t", f"{topic}:{partition}:{asked}").decode()
        found = re.fullmatch(r"\S+ \[\d+\] offset (-?\d+)\n", said)
        assert found is not None, said
        return OffsetSeen(int(found[1]), None)

    def close(self) -> None:
        """Writers and readers are closed by those who opened them."""

    def _listing(self, *words: str) -> dict:
        listing: dict = json.loads(self._run("-L", "-J", *words))
        return listing

    def _run(self, *words: str) -> bytes:
        command = ["kcat", "-b", self._server, *words]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
        if done.returncode != 0:
            raise ClientFailed(done.stderr.decode())
        return done.stdout


def record_of(stream: Stream) -> Read:
    """The next record that `FORMAT` has spelled."""
    topic, partition, offset, timestamp, key_size, value_size, headers = stream.line().split(b" ", 6)
    key = stream.take(int(key_size))
    value = stream.take(int(value_size))
    assert stream.take(1) == b"\n"
    return Read(
        topic=topic.decode(),
        partition=int(partition),
        offset=int(offset),
        timestamp_ms=int(timestamp),
        key=key,
        value=value,
        headers=tuple(_headers(headers.decode())),
    )


def _spelled_record(record: Sent) -> bytes:
    key = b"" if record.key is None else record.key + KEY_END
    return key + (record.value or b"") + RECORD_END


def _spelled_start(start: Start) -> str:
    match start.origin:
        case Origin.EARLIEST:
            return "beginning"
        case Origin.LATEST:
            return "end"
        case Origin.OFFSET:
            return str(start.number)
        case Origin.LAST:
            return f"-{start.number}"
        case _:
            return f"s@{start.number}"


def _headers(text: str) -> Iterator[tuple[str, bytes | None]]:
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        yield name, None if value == "NULL" else value.encode()
