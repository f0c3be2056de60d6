"""Who owns logs alone: works on them as a broker does, and writes down what was sent and promised."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from support.builders import a_batch, some_value
from tidelog.protocol.batch import check
from tidelog.protocol.compression import Codec
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import CorruptLog, DiskFailed, StorageError
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory
from tidelog.storage.segment import SUFFIX

from .disk import CrashDisk
from .model import Arrived, Part, Tree, Write, image, whole
from .promises import Damage, LogBook, LogPromise, Presence, check_log
from .recording import Recorder

SMALL = LogConfig(segment_bytes=2048, index_interval_bytes=256, segment_index_bytes=160)
TOPIC_ID = UUID(int=7)
FIRST_TIME = 1_700_000_000_000
CLUSTER_ID = "c" * 22
BATCH_OVERHEAD_MAX = 100
"""Bytes of a batch with one record beside its value, at the most."""
BYTES_LONGER = 7
"""Each variant's values are longer by so many: so batches end elsewhere, in their sectors and in their segments."""


@dataclass(frozen=True, slots=True)
class LogPromises:
    """What must be found in a data directory at one moment."""

    logs: Mapping[str, LogPromise]
    """By the names of their directories."""


class Owner:
    """Whoever owns a data directory: works on it, and writes down what was sent and promised."""

    def __init__(self, recorder: Recorder[LogPromises], disk: CrashDisk, *, variant: int = 0) -> None:
        self.disk = disk
        self.books: dict[str, LogBook] = {}
        self.logs: dict[str, Log] = {}
        self._recorder = recorder
        self._directory: LogDirectory | None = None
        self._time = FIRST_TIME
        self._longer = variant * BYTES_LONGER

    @property
    def directory(self) -> LogDirectory:
        """The data directory, open."""
        assert self._directory is not None
        return self._directory

    def changed(self) -> None:
        """More was sent, or promised."""
        self._recorder.promises = LogPromises({name: book.snapshot() for name, book in self.books.items()})

    def start(self) -> None:
        """Open the directory and every log in it, which must show what was promised; what they show is promised."""
        tree = self.disk.tree()
        self._directory = open_directory(self.disk)
        for name in self.directory.logs():
            log = self.directory.open_log(name.topic, name.partition, SMALL, now_ms=0)
            book = self.books[log.directory]
            rest = check_log(log, book.snapshot(), bytes_there=log_bytes(tree, log.directory))
            book.batches, book.safe, book.epoch, book.damage = list(rest.sent), rest.safe, rest.epoch, rest.damage
            self.logs[log.directory] = log
        self.changed()

    def create(self, topic: str, partition: int = 0) -> str:
        """Make a log; its name."""
        name = f"{topic}-{partition}"
        book = self.books[name] = LogBook()
        self.changed()
        self.logs[name] = self.directory.create_log(topic, partition, TOPIC_ID, SMALL, now_ms=0)
        book.presence = Presence.MUST
        self.changed()
        return name

    def send(self, name: str, *sizes: int, producer: tuple[int, int] = (-1, -1), codec: Codec = Codec.NONE) -> None:
        """Append one batch with values of these sizes, and stage it."""
        log, book = self.logs[name], self.books[name]
        self._time += 10
        producer_id, epoch = producer
        sequence = book.next_sequence(*producer) if producer_id >= 0 else -1
        batch = a_batch(
            [some_value(number, size + self._longer) for number, size in enumerate(sizes)],
            base_timestamp=self._time,
            codec=codec,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=sequence,
        )
        book.send(bytes(batch))
        self.changed()
        view = memoryview(batch)
        with self._refused(name):
            log.append(view, check(view), now_ms=0)

    def write(self, name: str, *sizes: int, producer: tuple[int, int] = (-1, -1), codec: Codec = Codec.NONE) -> None:
        """Append one batch and hand it to the page cache."""
        self.send(name, *sizes, producer=producer, codec=codec)
        with self._refused(name):
            self.logs[name].write_out()

    @contextmanager
    def _refused(self, name: str) -> Iterator[None]:
        """What the log does not take was never sent."""
        try:
            yield
        except StorageError:
            book, end_offset = self.books[name], self.logs[name].end_offset
            book.batches = [batch for batch in book.batches if batch.next_offset <= end_offset]
            self.changed()
            raise

    def flush(self, name: str) -> None:
        """Make durable what is written, and promise it."""
        log = self.logs[name]
        flush = log.begin_flush()
        if flush is None:
            return
        try:
            flush.sync()
        except DiskFailed:
            log.fail_flush(flush)
            raise
        log.end_flush(flush)
        self.books[name].promise(flush.end_offset)
        self.changed()

    def put(self, name: str, *sizes: int, producer: tuple[int, int] = (-1, -1)) -> None:
        """Append one batch and make it durable."""
        self.write(name, *sizes, producer=producer)
        self.flush(name)

    def mark(self, name: str) -> None:
        """Move the durable mark."""
        self.logs[name].write_mark()

    def rot(self, name: str, number: int) -> None:
        """Bytes of a batch change, on the disk of an owner that has stopped or died."""
        self.books[name].damage = Damage(number)
        self._corrupt(name, number, lambda sound: bytes([sound[0] ^ 1]))
        self.changed()

    def heal(self, name: str) -> None:
        """Put back the bytes that have rotted."""
        damage, self.books[name].damage = self.books[name].damage, None
        assert damage is not None
        self._corrupt(name, damage.number, lambda sound: sound)
        self.changed()

    def _corrupt(self, name: str, number: int, change: Callable[[bytes], bytes]) -> None:
        """Change the last byte of a batch."""
        *before, batch = self.books[name].batches[: number + 1]
        at = sum(len(one.data) for one in before) + len(batch.data) - 1
        files = self.disk.tree()[name]
        assert isinstance(files, dict)
        for file, content in sorted(files.items()):
            if file.endswith(SUFFIX):
                if at < len(content):
                    self.disk.corrupt(f"{name}/{file}", at, change(batch.data[-1:]))
                    return
                at -= len(content)

    def find_damage(self, name: str) -> None:
        """Read what has rotted; the log is quarantined, as its partition does it."""
        log, book = self.logs[name], self.books[name]
        assert book.damage is not None
        offset = book.batches[book.damage.number].base_offset
        try:
            log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True)
        except CorruptLog as damage:
            log.quarantine(damage)
        book.damage = book.damage._replace(is_noted=True)
        self.changed()

    def delete(self, name: str) -> None:
        """Remove a log for good."""
        self.books[name].presence = Presence.MAY
        self.changed()
        self.directory.delete_log(self.logs.pop(name), token="d" * 32)
        self.books[name].presence = Presence.MUST_NOT
        self.changed()

    def stop(self) -> None:
        """Stop cleanly."""
        for name, log in self.logs.items():
            log.close()
            self.books[name].promise(log.end_offset)
            self.changed()
        self.logs.clear()
        self.directory.close()
        self._recorder.note("stopped")

    def lose_power(self, torn_size: int) -> None:
        """The power fails. All arrives, but of the batch with one value of that size the first half."""
        self._recorder.note("power cut")
        at = self.disk.instant()
        size = torn_size + self._longer
        arrived = [
            Arrived(
                change,
                Part(((0, len(change.data) // 2),), is_as_long=False)
                if isinstance(change, Write) and 0 < len(change.data) - size < BATCH_OVERHEAD_MAX
                else whole(change),
            )
            for change in at.changes
        ]
        self.logs.clear()
        self.disk.restart(image(at, arrived))

    def die(self) -> None:
        """The process is killed; the next one finds the page cache as it was."""
        self._recorder.note("killed")
        self.logs.clear()
        self.disk.kill()


def open_directory(disk: CrashDisk) -> LogDirectory:
    """Lock it, make it if it is not there."""
    return LogDirectory.open(disk, cluster_id=lambda: CLUSTER_ID, now_ms=0)


def log_bytes(tree: Tree, name: str) -> int:
    """Bytes in the segments of a log."""
    files = tree.get(name, {})
    assert isinstance(files, dict)
    return sum(len(data) for file, data in files.items() if file.endswith(".log"))
