"""A virtual machine with the broker in it, emulated in software, whose power can be cut at any moment."""

import os
import random
import re
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from .drive import ATOM, SECTOR, Aftermath, Drive
from .guest import DEBIAN, kernel

FileSystem = Literal["ext4", "xfs"]

MEMORY: Final = "512M"
DRIVE_SIZE: Final = 1 << 30
"""Sparse: it takes what is written. XFS wants more than 300 MB."""
BOOTS_WITHIN_S: Final = 180.0
"""Generous: what a boot takes is printed, and decides nothing."""
BLOCKS: Final = f"write-zeroes=off,logical_block_size={SECTOR},physical_block_size={ATOM}"
GUEST_PORT: Final = 9092
READY: Final = " ready in "
QUIET: Final = "console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off random.trust_cpu=on tsc=reliable no_timer_check"
MOUNTING: Final = {"ext4": "errors=panic", "xfs": "rw"}
COMPLAINTS: Final = re.compile(
    r"EXT4-fs (error|warning)|XFS .*([Cc]orrupt|Internal error)|I/O error|Kernel panic|no file system|Traceback| ERROR "
)
"""After none of them is a cut a success, whatever is left."""


class MachineFailed(AssertionError):
    """The machine did not do what it was to do; its console is in the message."""


def formatted(platter: Path, file_system: FileSystem) -> Drive:
    """A drive with an empty file system on it."""
    drive = Drive(platter, DRIVE_SIZE)
    make = {"ext4": ["mke2fs", "-q", "-F", "-t", "ext4"], "xfs": ["mkfs.xfs", "-q", "-f"]}[file_system]
    subprocess.run([*make, str(platter)], check=True, env=_environment())
    return drive


def _environment() -> dict[str, str]:
    """In which Debian's programs find themselves and their libraries."""
    paths = [f"{DEBIAN}/usr/bin", f"{DEBIAN}/sbin", f"{DEBIAN}/usr/sbin", os.environ["PATH"], "/sbin", "/usr/sbin"]
    libraries = [f"{DEBIAN}/usr/lib/x86_64-linux-gnu", f"{DEBIAN}/lib/x86_64-linux-gnu"]
    return {
        **os.environ,
        "PATH": ":".join(paths),
        "LD_LIBRARY_PATH": ":".join(libraries),
        "MKE2FS_CONFIG": f"{DEBIAN}/etc/mke2fs.conf",
    }


class Machine:
    """Boots the broker on a drive, as often as the power comes back."""

    def __init__(self, initramfs: Path, drive: Drive, file_system: FileSystem, *, port: int) -> None:
        self.drive = drive
        self.port = port
        self.syncs: int | None = None
        """The planted bug: the broker that is booted next makes so many syncs, and then none."""
        self.console = ""
        """What was printed since the last boot."""
        self.ready_after_s = 0.0
        self._initramfs = initramfs
        self._file_system = file_system
        self._process: subprocess.Popen[bytes] | None = None
        self._monitor: socket.socket | None = None
        self._listener: threading.Thread | None = None
        self._began = 0.0
        self._has_news = threading.Event()
        """The broker is ready, or the machine has ended."""

    def __str__(self) -> str:
        if self.is_up:
            return f"{self._file_system}, ready after {self.ready_after_s:.1f} s"
        return f"{self._file_system}, while it booted"

    @property
    def is_up(self) -> bool:
        """The broker has said that it is ready."""
        return READY in self.console

    def boot(self, *settings: str, writes: int | None = None) -> bool:
        """Turn the power on, and wait for the broker; False if the power failed before, at the drive's n-th write."""
        self._turn_on(settings)
        if writes is not None:
            self.drive.fail_after(writes)
        deadline = self._began + BOOTS_WITHIN_S
        while not self._has_news.wait(0.02) and not self.drive.failed.is_set():
            if time.monotonic() > deadline:
                raise MachineFailed(f"the broker did not start in time\n{self.console}")
        self.drive.fail_after(None)
        if self.drive.failed.is_set():
            return False
        if not self.is_up:
            raise MachineFailed(f"the broker did not start\n{self.console}")
        assert self._monitor is not None
        self._monitor.sendall(b"hostfwd_add tcp:127.0.0.1:%d-:%d\n" % (self.port, GUEST_PORT))
        return True

    def _turn_on(self, settings: Sequence[str]) -> None:
        disk, monitor = self.drive.attach(), socket.socketpair()
        self._monitor = monitor[0]
        self.console = ""
        self._has_news.clear()
        self._began = time.monotonic()
        broker = [f"--listen=0.0.0.0:{GUEST_PORT}@127.0.0.1:{self.port}", *(f"--set={setting}" for setting in settings)]
        words = {
            "filesystem": self._file_system,
            "mounting": MOUNTING[self._file_system],
            "broker": ",".join(broker),
            "syncs": self.syncs,
        }
        append = " ".join([QUIET, *(f'{name}="{value}"' for name, value in words.items() if value is not None)])
        command = [
            "qemu-system-x86_64",
            *("-accel", "tcg", "-machine", "q35,usb=off,sata=off,smbus=off,vmport=off", "-cpu", "max", "-m", MEMORY),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"),
            *("-kernel", str(kernel()), "-initrd", str(self._initramfs), "-append", append),
            *("-blockdev", f"driver=nbd,node-name=drive,server.type=fd,server.str={disk.fileno()}"),
            *("-device", f"virtio-blk-pci,drive=drive,write-cache=on,discard=off,{BLOCKS}"),
            *("-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-chardev", f"socket,id=monitor,fd={monitor[1].fileno()}", "-mon", "chardev=monitor"),
        ]
        with disk, monitor[1]:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(disk.fileno(), monitor[1].fileno()),
                env=_environment(),
            )
        self._listener = threading.Thread(target=self._listen, args=(self._process,), name="console")
        self._listener.start()

    def cut(self, dice: random.Random) -> Aftermath:
        """Take the power away."""
        self._kill()
        if COMPLAINTS.search(self.console):
            raise MachineFailed(self.console)
        return self.drive.cut(dice)

    def close(self) -> None:
        """However it ended: nothing runs any more."""
        self._kill()
        self.drive.close()

    def _kill(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        assert self._listener is not None
        assert self._monitor is not None
        self._listener.join()
        self._monitor.close()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Keep what is printed."""
        assert process.stdout is not None
        with process.stdout as printed:
            for line in printed:
                self.console += line.decode(errors="replace")
                if self.is_up and not self._has_news.is_set():
                    self.ready_after_s = time.monotonic() - self._began
                    self._has_news.set()
        self._has_news.set()
