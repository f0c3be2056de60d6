"""Logs alone, as their owner drives them: the scripts, and how a data directory is looked at after a power cut."""

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from support.builders import a_batch, some_value
from tidelog.protocol.batch import check
from tidelog.protocol.compression import Codec
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import DiskFailed, DiskFull, StorageError
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

from .disk import CrashDisk
from .model import Arrived, Part, Tree, Write, image, whole
from .promises import Broken, LogBook, LogPromise, Presence, check_log
from .recording import Recorder, Story

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
            book.batches, book.safe, book.epoch = list(rest.sent), rest.safe, rest.epoch
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


class LogWorld:
    """See `World`."""

    def recover(self, disk: CrashDisk, tree: Tree, promises: LogPromises) -> LogPromises:
        """See `World`."""
        return recover(disk, tree, promises)

    def live_on(self, disk: CrashDisk, promises: LogPromises) -> None:
        """See `World`."""
        live_on(disk, promises)


def told(
    script: Callable[[Owner], None], ignores: tuple[tuple[str, str], ...] = (), *, variant: int = 0
) -> Story[LogPromises]:
    """Run a script on a new disk, on which those calls do nothing."""
    disk = CrashDisk(ignores=ignores)
    recorder = Recorder(disk, LogPromises({}))
    script(Owner(recorder, disk, variant=variant))
    recorder.note("the end")
    return Story(script.__name__, variant, LogWorld(), recorder.moments)


# How a data directory is looked at.


def recover(disk: CrashDisk, tree: Tree, promises: LogPromises) -> LogPromises:
    """Start on what a power cut has left, and hold it against what was promised; what must be found from then on."""
    try:
        directory, logs = _opened(disk)
    except StorageError as error:
        raise Broken(f"cannot be opened: {error}") from error
    rest = {}
    for name, promise in promises.logs.items():
        log = logs.pop(name, None)
        if (log is None and promise.presence is Presence.MUST) or (log and promise.presence is Presence.MUST_NOT):
            raise Broken(f"{name}: {promise.presence.value}, it is {'not' if log is None else ''} there")
        if log is not None:
            rest[name] = check_log(log, promise, bytes_there=log_bytes(tree, name))
        else:
            rest[name] = LogPromise((), 0, 0, Presence.MUST_NOT)
    if logs:
        raise Broken(f"nobody made {sorted(logs)}")
    if directory.cluster_id != CLUSTER_ID:
        raise Broken(f"the cluster is called {directory.cluster_id}")
    return LogPromises(rest)


def live_on(disk: CrashDisk, promises: LogPromises) -> None:
    """What was recovered can be worked with: written to, stopped, and started again."""
    directory, logs = _opened(disk)
    rest = {}
    for name, promise in promises.logs.items():
        if name not in logs:
            rest[name] = promise
            continue
        log, book = logs[name], LogBook(list(promise.sent), promise.safe, promise.epoch)
        batch = memoryview(a_batch([b"life goes on"], base_timestamp=FIRST_TIME + 1_000_000))
        book.send(bytes(batch))
        log.append(batch, check(batch), now_ms=0)
        log.close()
        book.promise(log.end_offset)
        book.presence = Presence.MUST
        rest[name] = book.snapshot()
    directory.close()
    after = disk.synced()
    again = CrashDisk(after)
    recover(again, after, LogPromises(rest))
    if not open_directory(CrashDisk(after)).was_clean:
        raise Broken("a clean stop that is none")


def _opened(disk: CrashDisk) -> tuple[LogDirectory, dict[str, Log]]:
    directory = open_directory(disk)
    logs = {}
    for name in directory.logs():
        log = directory.open_log(name.topic, name.partition, SMALL, now_ms=0)
        logs[log.directory] = log
    if directory.damaged:
        raise Broken(f"logs that cannot be named: {directory.damaged}")
    return directory, logs


def log_bytes(tree: Tree, name: str) -> int:
    """Bytes in the segments of a log."""
    files = tree.get(name, {})
    assert isinstance(files, dict)
    return sum(len(data) for file, data in files.items() if file.endswith(".log"))


# The scripts.


def format_a_new_directory(owner: Owner) -> None:
    """Made, and given its first log; stopped cleanly and started again."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 20)
    owner.stop()
    owner.start()
    owner.put("t-0", 30)


def produce_to_three_partitions(owner: Owner) -> None:
    """Taken turns with, small batches and large ones, some written while others are synced."""
    owner.start()
    names = [owner.create("t", number) for number in range(3)]
    for turn in range(5):
        for number, name in enumerate(names):
            owner.write(name, *[40 + 13 * turn] * (number + 1))
            if (turn + number) % 2:
                owner.flush(name)
        if turn == 2:
            owner.mark(names[0])
    owner.send(names[0], 700, 700)
    owner.send(names[0], 60, codec=Codec.ZSTD)
    owner.logs[names[0]].write_out()
    owner.flush(names[0])


def roll(owner: Owner) -> None:
    """Segment after segment, one by one and several at once, synced late."""
    owner.start()
    owner.create("t")
    for size in (900, 900, 300, 900):
        owner.put("t-0", size)
    for size in (500, 1500, 1500):
        owner.write("t-0", size)
    owner.flush("t-0")
    owner.mark("t-0")
    for _ in range(7):
        owner.send("t-0", 200, 200, 200)
    owner.logs["t-0"].write_out()
    owner.write("t-0", 10)
    owner.flush("t-0")


def idempotent_producers(owner: Owner) -> None:
    """Two producers, a new epoch of one of them; snapshots at rolls and at a clean stop."""
    owner.start()
    owner.create("t")
    for turn in range(8):
        owner.write("t-0", 250, 150, producer=(4000, 0))
        if turn % 2:
            owner.put("t-0", 120, producer=(4001, 7))
    owner.put("t-0", 20, producer=(4000, 1))
    owner.stop()
    owner.start()
    for _ in range(6):
        owner.put("t-0", 350, producer=(4001, 7))
    owner.mark("t-0")
    owner.write("t-0", 33, producer=(4000, 1))


def marks(owner: Owner) -> None:
    """The durable mark moves all the time."""
    owner.start()
    owner.create("t")
    for size in (100, 800, 700, 600, 30):
        owner.put("t-0", size)
        owner.mark("t-0")
        owner.write("t-0", 25)
    owner.mark("t-0")
    owner.flush("t-0")


def stop_and_start(owner: Owner) -> None:
    """Three lives, each ended cleanly; in one nothing happens."""
    owner.start()
    owner.create("t")
    owner.create("u", 3)
    for life in range(3):
        if life != 1:
            owner.write("t-0", *[200] * 5)
            owner.put("u-3", 45)
            owner.send("t-0", 1300)
        owner.stop()
        owner.start()
    owner.put("t-0", 10)


def killed_and_started(owner: Owner) -> None:
    """The process dies with much in the page cache, which the next one finds and shows."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 400)
    for size in (700, 1200, 50):
        owner.write("t-0", size, producer=(9, 0))
    owner.die()
    owner.start()
    owner.put("t-0", 60, producer=(9, 0))
    owner.die()
    owner.start()
    owner.stop()


def much_unsynced(owner: Owner) -> None:
    """As under `write.caching`: several segments of which nothing is durable."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 90)
    owner.mark("t-0")
    for size in (600, 600, 900, 300, 1700, 20):
        owner.write("t-0", size, producer=(5, 0))


def failed_sync(call: str, end: str) -> Callable[[Owner], None]:
    """A sync fails, and the kernel forgets the bytes; the next process reads what the page cache shows."""

    def script(owner: Owner) -> None:
        owner.start()
        owner.create("t")
        owner.put("t-0", 500)
        owner.mark("t-0")
        owner.write("t-0", 900, 300)
        owner.write("t-0", 1000)
        owner.disk.fail_next(call, end)
        try:
            owner.flush("t-0")
            owner.mark("t-0")
        except StorageError:
            owner.logs["t-0"].close()
        owner.die()
        owner.start()
        owner.put("t-0", 70)
        owner.mark("t-0")
        owner.put("t-0", 80)

    script.__name__ = f"failed_{call}_of_{end.lstrip('.')}"
    return script


def lost_indexes(owner: Owner) -> None:
    """Indexes that are missing or wrong are built again, by whoever reads there."""
    owner.start()
    owner.create("t")
    for size in (400, 500, 600, 700, 300, 800):
        owner.put("t-0", size, 30)
    owner.stop()
    first = f"t-0/{0:020d}"
    owner.disk.lose(f"{first}.index")
    owner.disk.corrupt(f"{first}.timeindex", 0, b"\x7f")
    owner.start()
    log = owner.logs["t-0"]
    for offset in range(log.end_offset):
        log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True)
    log.find_timestamp(FIRST_TIME + 20, up_to=log.end_offset)
    owner.put("t-0", 44)


def delete_and_make_again(owner: Owner) -> None:
    """A log goes, and one of its name comes."""
    owner.start()
    owner.create("t")
    owner.create("u")
    owner.put("t-0", 500, 600)
    owner.put("u-0", 500)
    owner.delete("t-0")
    owner.create("t")
    owner.put("t-0", 100)


def checkpoints(owner: Owner) -> None:
    """Most of the log lies before a checkpoint, with and without producers, amid a segment and between two."""
    owner.start()
    owner.create("t")
    owner.create("u")
    for turn, size in enumerate((500, 300, 700, 900, 200, 600)):
        owner.put("u-0", size)
        owner.write("t-0", size, 40, producer=(4000, 0))
        if turn % 2:
            owner.logs["t-0"].checkpoint()
            owner.logs["u-0"].checkpoint()
        owner.flush("t-0")
        owner.flush("u-0")
        if turn != 3:
            owner.mark("t-0")
            owner.mark("u-0")
    owner.write("u-0", 1900)
    owner.logs["u-0"].checkpoint()
    owner.flush("u-0")
    owner.write("u-0", 44)
    owner.mark("u-0")
    owner.write("t-0", 30, producer=(4000, 1))


def checkpoints_over_lives(owner: Owner) -> None:
    """A life that begins at a checkpoint, and makes others."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 600, producer=(1, 0))
    owner.logs["t-0"].checkpoint()
    owner.put("t-0", 400, producer=(1, 0))
    owner.mark("t-0")
    owner.write("t-0", 100, producer=(1, 0))
    owner.die()
    owner.start()
    owner.logs["t-0"].checkpoint()
    owner.put("t-0", 500, producer=(1, 0))
    owner.mark("t-0")
    owner.stop()
    owner.start()
    owner.put("t-0", 800, producer=(1, 0))
    owner.mark("t-0")


def killed_behind_a_checkpoint(owner: Owner) -> None:
    """The process dies when the segment of the checkpoint is closed, and the next one's name not yet durable."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 300)
    owner.logs["t-0"].checkpoint()
    owner.put("t-0", 400)
    owner.mark("t-0")
    owner.write("t-0", 1700)
    owner.die()
    owner.start()
    owner.put("t-0", 60)


def lost_mark(owner: Owner) -> None:
    """A log without its durable mark is read, and has one at once: what is torn behind it is cut."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 500)
    owner.mark("t-0")
    owner.die()
    owner.disk.lose("t-0/durable-mark")
    owner.start()
    owner.write("t-0", 700)


def cut_and_go_on(owner: Owner) -> None:
    """Power cuts tear the end off, and then a segment and all behind it; each time the log goes on in a new epoch."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 500)
    owner.mark("t-0")
    owner.write("t-0", 700)
    owner.write("t-0", 300)
    owner.lose_power(300)
    owner.start()
    owner.put("t-0", 200)
    for size in (1500, 900, 1800):
        owner.write("t-0", size)
    owner.lose_power(900)
    owner.start()
    owner.put("t-0", 250)
    owner.mark("t-0")
    owner.put("t-0", 1700)
    owner.stop()
    owner.start()
    owner.write("t-0", 20)


def cut_with_producers(owner: Owner) -> None:
    """Snapshots and checkpoints of what is cut must not come back."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 800, producer=(3, 0))
    owner.mark("t-0")
    for size in (900, 1000, 1100):
        owner.write("t-0", size, producer=(3, 0))
    owner.lose_power(900)
    owner.start()
    owner.put("t-0", 300, producer=(3, 1))
    owner.logs["t-0"].checkpoint()
    for size in (700, 1200, 400):
        owner.put("t-0", size, producer=(3, 1))
    owner.mark("t-0")


def full_disk(owner: Owner) -> None:
    """There is no space, for a batch, for a new segment, for its indexes, for the mark; and then there is."""
    owner.start()
    owner.create("t")
    owner.put("t-0", 900)
    for call, end, size in (
        ("append", ".log", 100),
        ("open", ".log", 1500),
        ("map", ".index", 1500),
        ("resize", ".timeindex", 1500),
        ("write", "durable-mark", 1500),
    ):
        owner.disk.fail_next(call, end, errno.ENOSPC)
        try:
            owner.put("t-0", size)
            owner.mark("t-0")
        except DiskFull:
            pass
        owner.put("t-0", 60)
        owner.mark("t-0")


def digests(owner: Owner) -> None:
    """Sealed segments get a digest beside them; it goes with them."""
    owner.start()
    owner.create("t")
    for size in (1500, 1500, 1500):
        owner.put("t-0", size)
    log = owner.logs["t-0"]
    for segment in log.segments[:-1]:
        inspection = log.inspection_of(segment)
        assert inspection is not None
        inspection.begin()
        while inspection.step():
            pass
        inspection.write(inspection.result(now_ms=0))
        inspection.publish()
        inspection.close()
        owner.put("t-0", 20)
    owner.delete("t-0")


SCRIPTS: tuple[Callable[[Owner], None], ...] = (
    format_a_new_directory,
    produce_to_three_partitions,
    roll,
    idempotent_producers,
    marks,
    stop_and_start,
    killed_and_started,
    much_unsynced,
    failed_sync("sync", ".log"),
    failed_sync("sync_map", ".index"),
    failed_sync("sync_directory", "t-0"),
    failed_sync("sync", "durable-mark"),
    lost_indexes,
    delete_and_make_again,
    checkpoints,
    checkpoints_over_lives,
    killed_behind_a_checkpoint,
    lost_mark,
    cut_and_go_on,
    cut_with_producers,
    full_disk,
    digests,
)
