"""A filesystem synced at one stroke: only where the kernel tells which one it is, and of what failed on it."""

import os
from pathlib import Path

import pytest

from tidelog.storage.disk import RealDisk
from tidelog.storage.filesystem import Filesystem, kind_of, tells_of_errors

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
31 27 8:17 / /srv/with\\040space rw,noatime shared:7 master:2 - xfs /dev/sdb1 rw,attr2
40 27 0:45 / /var rw - overlay overlay rw,lowerdir=/l,upperdir=/u
"""


@pytest.mark.parametrize(
    ("device", "kind"), [("254:0", "ext4"), ("8:17", "xfs"), ("0:45", "overlay"), ("0:99", None), ("", None)]
)
def test_the_kernel_is_asked_what_a_device_is_formatted_with(device: str, kind: str | None) -> None:
    assert kind_of(device, MOUNTS) == kind


@pytest.mark.parametrize(
    ("release", "does"),
    [("5.7.19", False), ("4.19.0-6", False), ("5.8.0", True), ("6.1.0-18-amd64", True), ("?", False)],
)
def test_older_kernels_do_not_tell_of_errors(release: str, does: bool) -> None:
    assert tells_of_errors(release) is does


def test_what_is_not_known_to_be_sound_is_not_used() -> None:
    """procfs, for one."""
    assert Filesystem.below("/proc/self") is None
    assert not RealDisk("/proc/self").syncs_all
    assert not RealDisk("/no/such/directory").syncs_all


def test_a_kernel_that_does_not_tell_of_errors_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result([*now[:2], "5.7.0", *now[3:]]))
    assert Filesystem.below("/dev/shm") is None


def test_shared_memory_is_synced_at_one_stroke() -> None:
    """A tmpfs wherever there is a Linux: there the call itself can be seen to work."""
    found = Filesystem.below("/dev/shm")
    assert found is not None
    found.sync()
    assert found.device == os.stat("/dev/shm").st_dev


def test_a_failure_is_raised(tmp_path: Path) -> None:
    found = Filesystem(str(tmp_path))
    os.close(found._descriptor)  # noqa: SLF001 - the one failure that can be had at will
    with pytest.raises(OSError, match="Bad file descriptor"):
        found.sync()


def test_a_tree_that_reaches_over_two_filesystems_is_synced_file_by_file(tmp_path: Path) -> None:
    """An operator may have moved a partition to another disk, by a link: the root's filesystem does not hold it."""
    disk = RealDisk("/dev/shm")
    assert disk.syncs_all
    (tmp_path / "moved").write_bytes(b"")
    disk.open(os.path.relpath(tmp_path / "moved", "/dev/shm")).close()
    assert disk.syncs_all is (os.stat(tmp_path).st_dev == os.stat("/dev/shm").st_dev)
