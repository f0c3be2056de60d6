"""The contract of `Disk`, which the real one and the simulated one both keep; then what only one of them can show."""

import errno
import itertools
import os
import random
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.disk import PowerCut, SimulatedDisk
from tidelog.storage.disk import IOV_MAX, File, RealDisk, Volume, failure, lost_in_sync
from tidelog.storage.errors import DirectoryLocked, DiskFailed, DiskFull, OutOfDescriptors
from tidelog.storage.filesystem import Filesystem


@pytest.fixture(params=["real", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    if request.param == "simulated":
        return SimulatedDisk()
    made = RealDisk(str(tmp_path / "not" / "there" / "yet"))
    made.make_directory("")
    return made


def contents(file: File) -> bytes:
    return file.read(0, file.size)


def test_append_returns_where_the_first_byte_went(disk: Volume) -> None:
    file = disk.open("a", create=True)
    assert file.append([b"abc", b"", memoryview(b"de")]) == 0
    assert file.append([bytearray(b"f")]) == 5
    assert (file.size, contents(file)) == (6, b"abcdef")
    assert contents(disk.open("a")) == b"abcdef"


def test_append_takes_more_buffers_than_one_call_of_the_kernel(disk: Volume) -> None:
    buffers = [bytes([number % 251]) * (number % 7) for number in range(3 * IOV_MAX + 1)]
    file = disk.open("a", create=True)
    file.append([b"x"])
    assert file.append(buffers) == 1
    assert contents(file) == b"x" + b"".join(buffers)


def test_read_is_short_at_the_end(disk: Volume) -> None:
    file = disk.open("a", create=True)
    file.append([b"abcdef"])
    assert file.read(4, 100) == b"ef"
    assert file.read(6, 100) == b""
    assert file.read(100, 100) == b""


def test_write_overwrites_and_extends_with_zeros(disk: Volume) -> None:
    file = disk.open("a", create=True)
    file.write(4, b"ab")
    file.write(1, b"x")
    assert (file.size, contents(file)) == (6, b"\0x\0\0ab")


def test_truncate_cuts_and_appends_go_on_there(disk: Volume) -> None:
    file = disk.open("a", create=True)
    file.append([b"abcdef"])
    file.truncate(2)
    file.append([b"X"])
    assert contents(file) == b"abX"


def test_a_file_that_is_missing_or_closed_fails(disk: Volume) -> None:
    with pytest.raises(DiskFailed):
        disk.open("missing")
    with pytest.raises(DiskFailed):
        disk.size("missing")
    with pytest.raises(DiskFailed):
        disk.remove("missing")
    with pytest.raises(DiskFailed):
        disk.list("missing")
    with pytest.raises(DiskFailed):
        disk.rename("missing", "a")
    file = disk.open("a", create=True)
    file.close()
    file.close()
    with pytest.raises(DiskFailed):
        file.sync()


def test_directories_are_listed_renamed_and_removed_with_what_is_in_them(disk: Volume) -> None:
    disk.make_directory("d")
    disk.make_directory("d/e")
    disk.open("d/e/b", create=True).append([b"bb"])
    disk.open("d/a", create=True).close()
    disk.sync_directory("d")
    assert disk.list("") == ["d"]
    assert disk.list("d") == ["a", "e"]
    assert disk.is_directory("d")
    assert disk.is_directory("d/e")
    assert not disk.is_directory("d/a")
    assert disk.exists("d/a")
    assert not disk.exists("d/x")
    assert disk.size("d/e/b") == 2
    disk.rename("d", "f")
    assert disk.list("f/e") == ["b"]
    disk.remove_directory("f")
    assert disk.list("") == []
    with pytest.raises(DiskFailed):
        disk.make_directory("missing/d")


def test_rename_replaces_a_file_and_open_files_follow(disk: Volume) -> None:
    old = disk.open("a", create=True)
    old.append([b"old"])
    new = disk.open("b", create=True)
    new.append([b"new"])
    disk.rename("b", "a")
    assert disk.list("") == ["a"]
    assert contents(disk.open("a")) == b"new"
    assert contents(old) == b"old"
    old.sync()


def test_a_lock_is_held_by_one_until_it_is_released(disk: Volume) -> None:
    lock = disk.lock(".lock")
    with pytest.raises(DirectoryLocked):
        disk.lock(".lock")
    lock.release()
    lock.release()
    disk.lock(".lock").release()


def test_there_is_space(disk: Volume) -> None:
    assert 0 < disk.free_bytes() <= disk.total_bytes()


# The real one.


def test_space_is_held_by_a_file_and_given_back(disk: Volume) -> None:
    for size in (1 << 20, 1 << 19, 1 << 21, 0, 4096):
        disk.allocate("held", size)
        assert disk.size("held") == size
    disk.remove("held")
    assert not disk.exists("held")


def test_everything_can_be_synced_at_once_where_it_can_be_believed(disk: Volume) -> None:
    if disk.syncs_all:
        file = disk.open("a", create=True)
        file.append([b"abc"])
        disk.sync_all()
        assert contents(file) == b"abc"


@pytest.fixture
def real(tmp_path: Path) -> RealDisk:
    return RealDisk(str(tmp_path))


@contextmanager
def files_end_at_10000() -> Iterator[None]:
    """The kernel writes up to there, then refuses: a short write, as on a disk that fills up.

    Within a test's body only: the limit is the process's, and the test runner's own output may be a long file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_append_that_was_cut_short_leaves_no_byte_behind(real: RealDisk) -> None:
    """A6, A7."""
    with files_end_at_10000():
        file = real.open("a", create=True)
        file.append([b"a" * 6000])
        with pytest.raises(DiskFailed):
            file.append([b"b" * 3000, b"c" * 3000])
        assert (file.size, real.size("a")) == (6000, 6000)
        assert file.append([b"d" * 100]) == 6000
        assert contents(file) == b"a" * 6000 + b"d" * 100
        with pytest.raises(DiskFailed):
            file.write(9990, b"e" * 100)


def test_no_space_is_told_from_other_failures() -> None:
    """/dev/full answers every write with ENOSPC. It cannot be truncated either, which must not hide that."""
    file = RealDisk("/dev").open("full")
    with pytest.raises(DiskFull):
        file.append([b"x"])
    with pytest.raises(DiskFailed):
        file.append([b"x"])
    file.close()


def test_space_that_is_held_is_taken_from_the_disk(real: RealDisk, tmp_path: Path) -> None:
    """A7. A copy that a backup left sparse is filled again."""
    real.allocate("held", 1 << 20)
    assert os.stat(tmp_path / "held").st_blocks * 512 >= 1 << 20
    os.truncate(os.open(tmp_path / "sparse", os.O_CREAT | os.O_RDWR), 1 << 20)
    real.allocate("sparse", 1 << 20)
    assert os.stat(tmp_path / "sparse").st_blocks * 512 >= 1 << 20
    real.allocate("sparse", 4096)
    assert os.stat(tmp_path / "sparse").st_blocks * 512 < 1 << 20


def test_space_that_is_not_there_is_not_held(real: RealDisk) -> None:
    with files_end_at_10000():
        real.allocate("held", 5000)
        with pytest.raises(DiskFailed):
            real.allocate("held", 20_000)
        assert real.size("held") == 5000


def test_a_sync_never_says_that_nothing_was_lost() -> None:
    """A5: without space it may have lost what was written, as with any other failure. Found on thin volumes."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        assert type(lost_in_sync(failure("a", OSError(number, "?")))) is DiskFailed
    disk = SimulatedDisk()
    file = disk.open("a", create=True)
    for call, sync in (("sync", file.sync), ("sync_all", disk.sync_all)):
        disk.fail_next(call, errno.ENOSPC)
        with pytest.raises(DiskFailed) as raised:
            sync()
        assert not isinstance(raised.value, DiskFull)


def test_each_sync_reaches_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A1: no simulated disk can tell. The parents that were made for the root are found after a power cut as well."""
    synced: list[str] = []

    def note(descriptor: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path))

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "fdatasync", note)
    monkeypatch.setattr(Filesystem, "sync", lambda self: synced.append("everything"))
    disk = RealDisk(str(tmp_path / "a" / "b"))
    disk.make_directory("")
    assert synced == ["a", "."]
    synced.clear()
    disk.make_directory("d")
    disk.open("d/f", create=True).sync()
    disk.sync_directory("d")
    disk.sync_directory("")
    assert synced == ["a/b/d/f", "a/b/d", "a/b"]
    disk = RealDisk("/dev/shm")
    assert disk.syncs_all
    disk.sync_all()
    assert synced[3:] == ["everything"]


def test_once_a_sync_has_failed_nothing_is_synced_at_once() -> None:
    """A5: it would tell of that failure again, and take down what has nothing to do with it."""
    disk = SimulatedDisk()
    assert disk.syncs_all
    disk.fail_next("sync")
    with pytest.raises(DiskFailed):
        disk.open("a", create=True).sync()
    assert not disk.syncs_all


def test_what_cannot_be_believed_is_not_offered(real: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Filesystem, "below", lambda directory: None)
    assert not real.syncs_all


def test_the_real_disk_too_believes_no_sync_of_everything_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RealDisk("/dev/shm")
    assert disk.syncs_all

    def failing(descriptor: int) -> None:
        del descriptor
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        name = f"tidelog-test-{os.getpid()}"
        file = disk.open(name, create=True)
        with pytest.raises(DiskFailed):
            file.sync()
        file.close()
        disk.remove(name)
    assert not disk.syncs_all


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """The process may open no more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_want_of_descriptors_passes_and_has_changed_nothing(real: RealDisk) -> None:
    """A7: it must take no log offline."""
    lock = real.lock(".lock")
    file = real.open("a", create=True)
    real.sync_directory("")
    with no_descriptors_left():
        with pytest.raises(OutOfDescriptors):
            real.open("a")
        file.append([b"abc"])
        file.sync()
        real.sync_directory("")  # else a flush that has synced its files would fail
        real.sync_directory("")
    assert issubclass(OutOfDescriptors, DiskFull), "whoever can wait for space can wait for this"
    assert contents(real.open("a")) == b"abc"
    before = len(os.listdir("/proc/self/fd"))
    lock.release()
    assert len(os.listdir("/proc/self/fd")) < before - 1, "the one that was kept is given back with the lock"


def test_two_threads_that_want_for_a_descriptor_have_it_one_after_the_other(
    real: RealDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A7: several logs are synced at a time."""
    lock, open_really, fsync_really = real.lock(".lock"), os.open, os.fsync
    in_sync, in_want = threading.Event(), threading.Event()
    real.sync_directory("")

    def watched_open(path: str, flags: int, mode: int = 0o777) -> int:
        try:
            return open_really(path, flags, mode)
        except OSError:
            if threading.current_thread() is second:
                in_want.set()
            raise

    def slow_fsync(descriptor: int) -> None:
        if threading.current_thread() is first:
            in_sync.set()
            in_want.wait(10)
        fsync_really(descriptor)

    def sync() -> None:
        try:
            real.sync_directory("")
        except DiskFailed as error:
            failures.append(error)

    failures: list[DiskFailed] = []
    first, second = threading.Thread(target=sync), threading.Thread(target=sync)
    monkeypatch.setattr(os, "open", watched_open)
    monkeypatch.setattr(os, "fsync", slow_fsync)
    with no_descriptors_left():
        first.start()
        assert in_sync.wait(10)
        second.start()
        first.join()
        second.join()
    assert failures == []
    lock.release()


def test_a_directory_that_cannot_be_opened_for_another_reason_costs_no_descriptor(
    real: RealDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = real.lock(".lock")
    real.sync_directory("")
    opens: list[str] = []

    def failing(path: str, *flags: int) -> int:
        del flags
        opens.append(path)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        with pytest.raises(DiskFailed):
            real.sync_directory("")
    assert len(opens) == 1, "nothing was given up for a second attempt"
    lock.release()


def test_without_a_lock_no_descriptor_is_kept_and_want_of_one_is_told(real: RealDisk) -> None:
    with no_descriptors_left(), pytest.raises(OutOfDescriptors):
        real.sync_directory("")


def test_what_cannot_be_closed_is_told_like_any_other_failure_and_is_closed(
    real: RealDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux has given the descriptor back all the same: who closed it again would close another's."""
    lock, file, close = real.lock(".lock"), real.open("a", create=True), os.close
    closed: list[int] = []

    def failing(descriptor: int) -> None:
        close(descriptor)
        closed.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", failing)
        with pytest.raises(DiskFailed, match="a: Input/output error"):
            file.close()
        with pytest.raises(DiskFailed, match="lock: Input/output error"):
            lock.release()
        file.close()
        lock.release()
    assert len(closed) == 2


def test_a_file_that_became_shorter_behind_our_back_is_read_to_its_end(
    real: RealDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = real.open("a", create=True)
    file.append([b"abcdef"])
    os.truncate(tmp_path / "a", 4)
    reads = itertools.count()
    pread = os.pread

    def counted(descriptor: int, size: int, position: int) -> bytes:
        assert next(reads) < 3, "it asks for ever"
        return pread(descriptor, size, position)

    monkeypatch.setattr(os, "pread", counted)
    assert file.read(0, 6) == b"abcd"


def test_a_write_that_makes_no_progress_fails(real: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = real.open("a", create=True)
    writes = itertools.count()

    def stuck(*arguments: object) -> int:
        del arguments
        assert next(writes) < 3, "it tries for ever"
        return 0

    monkeypatch.setattr(os, "pwritev", stuck)
    with pytest.raises(DiskFailed, match="no progress"):
        file.append([b"abc"])


def test_nobody_else_may_read_our_files(real: RealDisk, tmp_path: Path) -> None:
    real.make_directory("d")
    real.open("d/a", create=True).close()
    modes = [os.stat(tmp_path / name).st_mode & 0o777 for name in ("d", "d/a")]
    assert modes == [0o700, 0o600]


def test_a_symbolic_link_is_removed_not_followed(real: RealDisk, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    real.make_directory("d")
    (tmp_path / "d" / "link").symlink_to(tmp_path / "precious")
    real.remove_directory("d")
    assert real.list("precious") == ["file"]


# The simulated one.


@pytest.mark.parametrize("seed", range(200))
def test_what_was_synced_survives_a_crash(seed: int) -> None:
    disk, rng = SimulatedDisk(seed), random.Random(seed)
    file = disk.open("a", create=True)
    disk.sync_directory("")
    data = b""
    for _ in range(rng.randint(1, 4)):
        piece = rng.randbytes(rng.randint(1, 3000))
        file.append([piece])
        data += piece
        file.sync()
    file.append([b"x" * 5000])
    disk.crash()
    left = contents(disk.open("a"))
    assert left[: len(data)] == data
    assert len(left) <= len(data) + 5000
    with pytest.raises(DiskFailed):
        file.sync()


def test_a_crash_loses_tears_and_keeps_what_was_not_synced() -> None:
    found = set()
    for seed in range(300):
        disk = SimulatedDisk(seed)
        disk.open("a", create=True).append([bytes(range(1, 251)) * 20])
        disk.sync_directory("")
        disk.crash()
        left = contents(disk.open("a"))
        whole = left == (bytes(range(1, 251)) * 20)[: len(left)]
        found.add((len(left) == 5000, whole, b"\0" * 512 in left))
    assert {(False, True, False), (True, True, False), (True, False, True), (False, False, True)} <= found


def test_names_are_lost_until_their_directory_is_synced_and_a_rename_is_never_half_done() -> None:
    found = set()
    for seed in range(100):
        disk = SimulatedDisk(seed)
        disk.open("kept", create=True).close()
        disk.open("old", create=True).close()
        disk.sync_directory("")
        disk.open("new", create=True).close()
        disk.rename("old", "renamed")
        disk.crash()
        names = disk.list("")
        assert "kept" in names
        assert ("old" in names) != ("renamed" in names)
        found.add(tuple(names))
    assert len(found) == 4


def test_a_kill_loses_nothing_but_the_process() -> None:
    disk = SimulatedDisk()
    file = disk.open("a", create=True)
    file.append([b"abc"])
    disk.lock(".lock")
    disk.kill()
    with pytest.raises(DiskFailed):
        file.append([b"d"])
    disk.lock(".lock")
    assert contents(disk.open("a")) == b"abc"


def test_after_a_failed_sync_later_ones_lie() -> None:
    """A5: what the kernel could not write, it forgets."""
    disk = SimulatedDisk()
    file = disk.open("a", create=True)
    disk.sync_directory("")
    file.append([b"abc"])
    file.sync()
    file.append([b"def"])
    disk.fail_next("sync")
    with pytest.raises(DiskFailed):
        file.sync()
    file.append([b"ghi"])
    file.sync()
    assert contents(file) == b"abcdefghi"
    disk.crash()
    assert contents(disk.open("a")) == b"abc\0\0\0ghi"


def test_failures_and_lack_of_space_come_once_and_where_they_were_asked_for() -> None:
    disk = SimulatedDisk()
    file, other = disk.open("a", create=True), disk.open("b", create=True)
    disk.fail_next("append", errno.ENOSPC, path="a")
    other.append([b"x"])
    with pytest.raises(DiskFull):
        file.append([b"x"])
    file.append([b"x"])
    disk.full(10)
    file.append([b"x" * 6])
    assert disk.free_bytes() == 4
    with pytest.raises(DiskFull):
        file.append([b"x" * 5])
    assert file.size == 7
    disk.full(None)
    file.append([b"x" * 5])


def test_the_power_goes_at_the_call_that_was_named_and_stays_off() -> None:
    found = set()
    for seed in range(20):
        disk = SimulatedDisk(seed)
        file = disk.open("a", create=True)
        disk.crash_at(2)
        file.append([b"x"])
        with pytest.raises(PowerCut):
            file.append([b"y"])
        with pytest.raises(PowerCut):
            disk.list("")
        with pytest.raises(PowerCut):
            file.append([b"z"])
        disk.kill()
        found.add(contents(disk.open("a")))
    assert found == {b"x", b"xy"}


def test_the_same_seed_does_the_same() -> None:
    def run(seed: int) -> dict[str, bytes]:
        disk = SimulatedDisk(seed)
        for name in "abc":
            disk.open(name, create=True).append([name.encode() * 3000])
        disk.crash()
        return disk.tree()

    assert [run(seed) for seed in range(20)] == [run(seed) for seed in range(20)]


def test_a_sync_of_everything_makes_files_and_names_durable() -> None:
    for seed in range(50):
        disk = SimulatedDisk(seed)
        disk.make_directory("d")
        disk.open("d/a", create=True).append([b"abc"])
        disk.open("d/gone", create=True)
        disk.remove("d/gone")
        disk.sync_all()
        disk.crash()
        assert disk.tree() == {"d/a": b"abc"}


def test_a_sync_of_everything_that_fails_forgets_what_was_dirty() -> None:
    """As Linux does: no later sync writes it."""
    disk = SimulatedDisk()
    file = disk.open("a", create=True)
    disk.sync_all()
    file.append([b"abc"])
    disk.fail_next("sync_all")
    with pytest.raises(DiskFailed):
        disk.sync_all()
    disk.sync_all()
    disk.crash()
    assert contents(disk.open("a")) == b""


def test_space_that_was_held_can_be_used_when_it_is_given_back() -> None:
    disk = SimulatedDisk()
    disk.full(100)
    disk.allocate("held", 80)
    file = disk.open("a", create=True)
    with pytest.raises(DiskFull):
        file.append([b"x" * 30])
    disk.allocate("held", 60)
    file.append([b"x" * 30])
    disk.remove("held")
    assert disk.free_bytes() == 70
    with pytest.raises(DiskFull):
        disk.allocate("held", 71)
