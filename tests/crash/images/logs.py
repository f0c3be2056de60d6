"""Logs alone, as their owner drives them: the scripts, and how a data directory is looked at after a power cut."""

import errno
from collections.abc import Callable

from support.builders import a_batch
from tidelog.protocol.batch import check
from tidelog.protocol.compression import Codec
from tidelog.storage.errors import DiskFull, LogOffline, StorageError
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

from .disk import CrashDisk
from .model import Tree
from .owner import CLUSTER_ID, FIRST_TIME, SMALL, LogPromises, Owner, log_bytes, open_directory
from .promises import Broken, LogBook, LogPromise, Presence, check_log
from .recording import Recorder, Story


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
        log, book = logs[name], LogBook(list(promise.sent), promise.safe, promise.epoch, damage=promise.damage)
        batch = memoryview(a_batch([b"life goes on"], base_timestamp=FIRST_TIME + 1_000_000))
        try:
            log.append(batch, check(batch), now_ms=0)
            book.send(bytes(batch))
        except LogOffline as error:
            if promise.damage is None or not promise.damage.is_noted:
                raise Broken(f"{name}: takes no appends: {error}") from error
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
        ("open", ".index", 1500),
        ("write", ".timeindex", 1500),
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


def quarantined(owner: Owner) -> None:
    """Damage is found in a sealed segment and in one that is written to, and stays until the bytes are the old ones."""
    owner.start()
    owner.create("t")
    owner.create("u")
    for size in (700, 900, 300, 1200):
        owner.put("t-0", size)
    owner.put("u-0", 300)
    owner.put("u-0", 200)
    owner.stop()
    owner.rot("t-0", 1)
    owner.rot("u-0", 0)
    owner.start()
    owner.put("t-0", 60)
    owner.put("u-0", 50)
    owner.write("t-0", 40)
    owner.find_damage("t-0")
    owner.find_damage("u-0")
    owner.die()
    owner.start()
    owner.stop()
    owner.start()
    owner.die()
    owner.heal("t-0")
    owner.start()
    owner.put("t-0", 80)


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
    failed_sync("sync", ".index"),
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
    quarantined,
)
