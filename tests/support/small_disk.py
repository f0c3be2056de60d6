"""A small disk of its own for a broker process: to be filled to the brim, with nobody else on it.

It is mounted in a mount namespace, which a process holds that does nothing else: so nothing is left when that is gone,
and no other process can stumble over it. Root mounts what it likes; everybody else may mount a tmpfs, in a namespace of
users of their own. The broker is started in the namespace; the test looks into it by /proc.
"""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILLER = "filler"
BLOCK = 64 << 10
ROOT = 0


def filesystems() -> tuple[str, ...]:
    """Those that can be mounted here: any, by root, where there are loop devices."""
    return ("tmpfs", "ext4") if os.geteuid() == ROOT and os.path.exists("/dev/loop-control") else ("tmpfs",)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """One that is mounted."""

    path: Path
    """Where, for processes in its namespace."""
    holder: int
    """The process that holds the namespace."""

    @property
    def seen(self) -> Path:
        """Where, for everybody else."""
        return Path(f"/proc/{self.holder}/root{self.path}")

    @property
    def under(self) -> list[str]:
        """The command that another one runs under to be in the namespace."""
        users = [] if os.geteuid() == ROOT else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.holder), *users, "--mount"]

    def fill(self) -> int:
        """Take every byte that is left, as a stranger; how many those were."""
        descriptor = os.open(self.seen / FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        taken, size = 0, BLOCK
        try:
            while size:
                try:
                    taken += os.write(descriptor, bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return taken

    def leave(self) -> None:
        """Give back what `fill` took."""
        (self.seen / FILLER).unlink()

    def free_bytes(self) -> int:
        """What is left for everybody."""
        found = os.statvfs(self.seen)
        return found.f_bavail * found.f_frsize


@contextmanager
def a_small_disk(directory: Path, *, filesystem: str, size: int) -> Iterator[SmallDisk]:
    """One of so many bytes, below `directory`."""
    mounted, image = directory / "disk", directory / "disk.image"
    mounted.mkdir()
    if filesystem == "tmpfs":
        mount = f"mount -t tmpfs -o size={size},mode=700 tmpfs '{mounted}'"
    else:
        with image.open("wb") as made:
            made.truncate(size)
        subprocess.run([f"mkfs.{filesystem}", "-q", "-m", "0", str(image)], check=True)
        mount = f"mount -o loop '{image}' '{mounted}'"
    users = [] if os.geteuid() == ROOT else ["--map-root-user", "--user"]
    command = ["unshare", *users, "--mount", "sh", "-c", f"{mount} && echo mounted && exec cat"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n", "this machine lets nobody mount a small disk"
        yield SmallDisk(mounted, holder.pid)
    finally:
        with contextlib.suppress(BrokenPipeError):
            holder.communicate()
