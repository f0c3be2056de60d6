"""A drive with a volatile cache, served to a virtual machine over NBD, that loses power when told to.

What the machine writes is cached; a flush puts it on the platter. When the power goes, each write that no flush has
covered is kept, lost, or torn between two physical sectors, whatever became of those before and after it: all that a
real drive may do, and nothing that it may not. Killing a machine whose disk is a plain file would prove nothing, for
the host's page cache survives that.
"""

import os
import random
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECTOR: Final = 512
"""In which drives are addressed."""
ATOM: Final = 4096
"""What is written whole or not at all, where it is aligned: the physical sector of a drive of today. With less, it is
the file systems that give up (ext4 before Linux 6.11 does not mount when the block that commits a transaction is torn),
and not the broker that is tried; that a log may be torn at every 512 bytes is tried elsewhere."""

_PRESENT: Final = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 0b11)  # fixed newstyle, without the padding of old
_OPTION: Final = struct.Struct(">8sII")
_OPTION_REPLY: Final = struct.Struct(">QIII")
_OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
_OPTION_ABORT: Final = 2
_OPTION_GO: Final = 7
_REPLY_ACK: Final = 1
_REPLY_INFO: Final = 3
_REPLY_UNSUPPORTED: Final = 0x80000001
_EXPORT_FLAGS: Final = 0b101  # flags are meant, and there is a cache to be flushed
_REQUEST: Final = struct.Struct(">IHHQQI")
_REQUEST_MAGIC: Final = 0x25609513
_REPLY: Final = struct.Struct(">IIQ")
_REPLY_MAGIC: Final = 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH = range(4)


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What became of the writes that were in the cache when the power went."""

    kept: int = 0
    torn: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return f"of {self.kept + self.torn + self.lost} unflushed writes {self.lost} lost, {self.torn} torn"


class Drive:
    """A platter, which is a sparse file, and the cache in front of it. One machine at a time."""

    def __init__(self, platter: Path, size: int) -> None:
        assert size % ATOM == 0
        self.size = size
        self.flushes = 0
        self._descriptor = os.open(platter, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        os.ftruncate(self._descriptor, size)
        self._unflushed: list[tuple[int, bytes]] = []
        """Position and bytes, in the order in which they were written."""
        self._cached: dict[int, bytes] = {}
        """The newest bytes of each sector that is not on the platter."""
        self._thread: threading.Thread | None = None
        self._answers_left: int | None = None
        self._fails_at: frozenset[int] = frozenset()
        self._failing = threading.Lock()
        self.failed = threading.Event()
        """It has stopped answering, as `fail_after` wished."""

    def attach(self) -> socket.socket:
        """Serve a machine; the machine's end of the connection."""
        assert self._thread is None
        ours, theirs = socket.socketpair()
        self.failed.clear()
        self._answers_left = None
        self._thread = threading.Thread(target=self._serve, args=(ours,), name="drive")
        self._thread.start()
        return theirs

    def fail_after(self, count: int | None, *, flushes_only: bool = False) -> None:
        """Answer so many more writes and flushes, then nothing any more: the power is about to go. None: go on."""
        with self._failing:
            self._fails_at = frozenset({_FLUSH}) if flushes_only else frozenset({_WRITE, _FLUSH})
            self._answers_left = count

    def cut(self, dice: random.Random) -> Aftermath:
        """The power goes; the machine, which is dead already, has let go of the connection."""
        self._detach()
        kept = torn = lost = 0
        keeping = dice.choice((0.0, 0.5, 1.0, dice.random()))
        for position, data in self._unflushed:
            if dice.random() < 0.2:
                self._tear(position, data, dice)
                torn += 1
            elif dice.random() < keeping:
                self._to_platter(position, data)
                kept += 1
            else:
                lost += 1
        self._forget()
        return Aftermath(kept, torn, lost)

    def close(self) -> None:
        """Give the file back, after the machine has ended."""
        self._detach()
        os.close(self._descriptor)

    def read(self, position: int, size: int) -> bytes:
        """What the machine sees there: the cache's bytes where it has some."""
        data = os.pread(self._descriptor, size, position)
        first, last = position // SECTOR, (position + size - 1) // SECTOR
        if not self._cached or not any(sector in self._cached for sector in range(first, last + 1)):
            return data
        found = bytearray(data)
        for sector in range(first, last + 1):
            cached = self._cached.get(sector)
            if cached is not None:
                place = sector * SECTOR - position
                found[place : place + SECTOR] = cached
        return bytes(found)

    def write(self, position: int, data: bytes) -> None:
        """Whole sectors, into the cache."""
        assert position % SECTOR == 0
        assert len(data) % SECTOR == 0
        self._unflushed.append((position, data))
        self._cached.update(_sectors(position, data))

    def flush(self) -> None:
        """What was written so far is on the platter afterwards."""
        self.flushes += 1
        for position, data in self._unflushed:
            self._to_platter(position, data)
        self._forget()

    def _to_platter(self, position: int, data: bytes) -> None:
        written = os.pwrite(self._descriptor, data, position)
        assert written == len(data)

    def _tear(self, position: int, data: bytes, dice: random.Random) -> None:
        kept: dict[int, bool] = {}
        for sector, part in _sectors(position, data):
            atom = sector * SECTOR // ATOM
            if kept.setdefault(atom, dice.random() < 0.5):
                self._to_platter(sector * SECTOR, part)

    def _forget(self) -> None:
        self._unflushed.clear()
        self._cached.clear()

    def _detach(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # NBD, the part of it that QEMU speaks: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

    def _serve(self, machine: socket.socket) -> None:
        with machine:
            try:
                if self._shake_hands(machine):
                    while self._answer(machine):
                        pass
            except (ConnectionError, EOFError):
                pass  # the machine was killed

    def _shake_hands(self, machine: socket.socket) -> bool:
        """Agree on the one export there is; False when the machine thinks better of it."""
        machine.sendall(_PRESENT)
        _receive(machine, 4)
        while True:
            _, option, size = _OPTION.unpack(_receive(machine, _OPTION.size))
            _receive(machine, size)
            if option == _OPTION_GO:
                export = struct.pack(">HQH", 0, self.size, _EXPORT_FLAGS)
                machine.sendall(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, _REPLY_INFO, len(export)) + export)
                machine.sendall(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, _REPLY_ACK, 0))
                return True
            if option == _OPTION_ABORT:
                return False
            machine.sendall(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, _REPLY_UNSUPPORTED, 0))

    def _answer(self, machine: socket.socket) -> bool:
        """One request; False at the last."""
        magic, _, kind, handle, position, size = _REQUEST.unpack(_receive(machine, _REQUEST.size))
        assert magic == _REQUEST_MAGIC
        data = _receive(machine, size) if kind == _WRITE else b""
        if kind == _DISCONNECT or self._has_failed(kind):
            while machine.recv(1 << 16):
                pass  # until the machine is dead
            return False
        if kind == _READ:
            data = self.read(position, size)
        elif kind == _WRITE:
            self.write(position, data)
            data = b""
        else:
            assert kind == _FLUSH
            self.flush()
        machine.sendall(_REPLY.pack(_REPLY_MAGIC, 0, handle) + data)
        return True

    def _has_failed(self, kind: int) -> bool:
        with self._failing:
            if self._answers_left is None or kind not in self._fails_at:
                return False
            if self._answers_left:
                self._answers_left -= 1
                return False
            self.failed.set()
            return True


def _sectors(position: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each sector's number and bytes."""
    for begin in range(0, len(data), SECTOR):
        yield (position + begin) // SECTOR, data[begin : begin + SECTOR]


def _receive(machine: socket.socket, size: int) -> bytes:
    """So many bytes, not fewer."""
    if not size:
        return b""
    data = machine.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError
    return data
