"""A data directory: its lock, its identity, its logs, their creation and deletion.

    .lock                       held by flock while a process has the directory open
    meta.properties             identity and format version, Kafka's keys and one of ours
    .kafka_cleanshutdown        there only between a clean stop and the next start
    .reserve                    space held by the broker (broker/disk_space.py)
    <topic>-<partition>/        one log (log.py), and in it
        partition.metadata      the topic's id
    <topic>-<partition>.<32 digits>-delete, <topic>-<partition>-create
                                a log on its way out, or not yet complete: removed at start; other names are left alone

meta.properties, lines in this order:

    #<when it was made>
    cluster.id=<22 characters of base64>
    directory.id=<22 characters of base64>
    node.id=1
    tidelog.format.version=1
    version=1

partition.metadata, as Kafka writes it (no newline at the end):

    version: 0
    topic_id: <22 characters of base64>

A directory of another format version is refused before anything in it is touched, and so is one that names a feature
(`tidelog.features`, a list with commas) that this version does not know, or that holds other people's files.
"""

import logging
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from .checkpoint import TEMPORARY_SUFFIX, create_file, read_file, replace_file
from .config import LogConfig
from .disk import Disk, Lock
from .durable_mark import FILE_NAME as DURABLE_MARK
from .durable_mark import DurableMark, Slot, encode_first
from .errors import CorruptLog, DiskFailed, LogExists, LogMissing, StorageError, UnknownFormat
from .handles import Handles
from .leader_epochs import FILE_NAME as LEADER_EPOCHS
from .leader_epochs import EpochStart, LeaderEpochs, encode_epochs
from .leftovers import segment_bases
from .log import Log
from .lost_log import lost
from .offset_index import SUFFIX as OFFSET_INDEX_SUFFIX
from .producer_state import ProducerRoom
from .recovery import open_log
from .segment import SUFFIX as LOG_SUFFIX
from .time_index import SUFFIX as TIME_INDEX_SUFFIX

FORMAT_VERSION: Final = 1
FEATURES: Final = "tidelog.features"
"""The key that a later version writes for what an older one must not open; there is no such feature yet."""
META_VERSION: Final = 1
"""Kafka's version of meta.properties since it has no ZooKeeper."""

LOCK: Final = ".lock"
META: Final = "meta.properties"
CLEAN_SHUTDOWN: Final = ".kafka_cleanshutdown"
CLEAN_SHUTDOWN_CONTENTS: Final = b'{"version":0,"brokerEpoch":-1}'
PARTITION_METADATA: Final = "partition.metadata"
DELETE_SUFFIX: Final = "-delete"
CREATE_SUFFIX: Final = "-create"
NAME_SIZE_MAX: Final = 255
"""Of a file name, on every filesystem in use."""

FILES_OF_A_SEGMENT: Final = 3
"""Descriptors of a sealed segment that is open; an active one takes as many."""
OPEN_SEGMENTS_MAX: Final = 256
"""Sealed segments whose files are open at once."""

_LOG_DIRECTORY = re.compile(r"[a-zA-Z0-9._-]{1,249}-(0|[1-9]\d{0,9})")
"""No other way to write the number: two directories must not be one log's."""
_INTERRUPTED = re.compile(_LOG_DIRECTORY.pattern + rf"({CREATE_SUFFIX}|\.[0-9a-f]{{32}}{DELETE_SUFFIX})")
"""One of a log that was being made or deleted; what else ends so, operators have put there."""
_TEMPORARY = (META + TEMPORARY_SUFFIX, CLEAN_SHUTDOWN + TEMPORARY_SUFFIX)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogName:
    """A log that lies in the directory."""

    topic: str
    partition: int
    topic_id: UUID


class LogDirectory:
    """A data directory that is open and locked."""

    def __init__(self, disk: Disk, *, lock: Lock, cluster_id: str, was_clean: bool, open_segments_max: int) -> None:
        """Made by `open`."""
        self.cluster_id = cluster_id
        self.was_clean = was_clean
        """The last process closed it properly."""
        self.damaged: list[StorageError] = []
        """Logs that `logs` could not name."""
        self._disk = disk
        self._lock = lock
        self._handles = Handles(open_segments_max)
        self._producer_room = ProducerRoom()

    @classmethod
    def open(
        cls,
        disk: Disk,
        *,
        cluster_id: Callable[[], str],
        now_ms: int,
        node_id: int = 1,
        open_segments_max: int = OPEN_SEGMENTS_MAX,
        check: Callable[[Disk], None] = lambda disk: None,
    ) -> "LogDirectory":
        """Lock the directory, make it if need be (then `cluster_id` is asked), and clear away what was interrupted.

        `DirectoryLocked`, or `UnknownFormat`: then nothing was changed. Nor was it when `check` raises, which may look
        at a directory that is ours and locked.
        """
        if not disk.is_directory(""):
            disk.make_directory("")
        check_format(disk)
        lock = disk.lock(LOCK)
        try:
            properties = check_format(disk)  # again: whoever held the lock may have made it just now
            if properties is None:
                properties = _format(disk, cluster_id(), node_id, now_ms)
            else:
                check(disk)
            was_clean = disk.exists(CLEAN_SHUTDOWN)
            if was_clean:
                disk.remove(CLEAN_SHUTDOWN)
            _remove_interrupted(disk)
            disk.sync_directory("")
        except BaseException:
            lock.release()
            raise
        return cls(
            disk,
            lock=lock,
            cluster_id=properties["cluster.id"],
            was_clean=was_clean,
            open_segments_max=open_segments_max,
        )

    def logs(self) -> list[LogName]:
        """The logs that are there, by topic and partition. What cannot be named is put on `damaged` and left alone."""
        names = []
        self.damaged = []
        for name in log_directories(self._disk):
            topic, _, partition = name.rpartition("-")
            try:
                names.append(LogName(topic, int(partition), read_partition_metadata(self._disk, name)))
            except StorageError as damage:
                logger.error("a log that cannot be named directory=%s because=%s", name, damage)
                self.damaged.append(damage)
        return sorted(names, key=lambda name: (name.topic, name.partition))

    def create_log(self, topic: str, partition: int, topic_id: UUID, config: LogConfig, *, now_ms: int) -> Log:
        """Make an empty log, durably; `LogExists`. It is made under another name, so that it is whole or not there."""
        directory = f"{topic}-{partition}"
        if self._disk.exists(directory):
            raise LogExists(directory)
        draft = _shortened(directory, CREATE_SUFFIX)
        try:
            self._make_log(draft, directory, topic_id)
            return self._open_log(directory, config, trusted=True, now_ms=now_ms)
        except StorageError:
            with suppress(StorageError):  # it would be in the way of the next attempt, and take up space
                if self._disk.exists(directory):
                    self._disk.rename(directory, draft)
                self._disk.remove_directory(draft)
            raise

    def _make_log(self, draft: str, directory: str, topic_id: UUID) -> None:
        if self._disk.exists(draft):
            self._disk.remove_directory(draft)  # an earlier attempt failed, and could not clear it away
        self._disk.make_directory(draft)
        create_file(self._disk, f"{draft}/{PARTITION_METADATA}", encode_partition_metadata(topic_id))
        epochs = LeaderEpochs(self._disk, draft, [EpochStart(0, 0)])
        create_file(self._disk, f"{draft}/{LEADER_EPOCHS}", encode_epochs(epochs.entries))
        create_file(self._disk, f"{draft}/{DURABLE_MARK}", encode_first(Slot(1, 0, epochs=epochs.known)))
        for suffix in (LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX):
            self._disk.open(f"{draft}/{0:020d}{suffix}", create=True).close()
        self._disk.sync_directory(draft)
        self._disk.rename(draft, directory)
        self._disk.sync_directory("")

    def open_log(self, topic: str, partition: int, config: LogConfig, *, now_ms: int) -> Log:
        """Open a log that is there; `LogMissing`. `recovered` of the log tells what that took.

        `CorruptLog` if nothing of it is left to open.
        """
        directory = f"{topic}-{partition}"
        if not self._disk.is_directory(directory):
            raise LogMissing(directory)
        return self._open_log(directory, config, trusted=self.was_clean, now_ms=now_ms)

    def lost_log(self, topic: str, partition: int, config: LogConfig, *, because: StorageError) -> Log:
        """What stands for a log of which nothing can be opened: it is offline, and its files stay as they are."""
        directory = f"{topic}-{partition}"
        opened = lost(self._disk, directory, config=config, handles=self._handles, because=because)
        return Log(self._disk, directory, opened=opened, config=config, handles=self._handles)

    def has_log(self, topic: str, partition: int) -> bool:
        """Whether a log of that name lies there, whatever its topic's id."""
        return self._disk.exists(f"{topic}-{partition}")

    def is_unused(self, name: LogName) -> bool:
        """Whether a log that is not open is as it was made: nothing was ever written to it, as far as can be told."""
        directory = f"{name.topic}-{name.partition}"
        try:
            return (
                segment_bases(self._disk, directory) == [0]
                and self._disk.size(f"{directory}/{0:020d}{LOG_SUFFIX}") == 0
                and DurableMark.read(self._disk, directory).offset == 0
            )
        except StorageError:
            return False

    def topic_id_of(self, topic: str, partition: int) -> UUID | None:
        """Whose log lies there, as it says itself; None if it does not say. `DiskFailed` if it cannot be asked."""
        try:
            return read_partition_metadata(self._disk, f"{topic}-{partition}")
        except CorruptLog:
            return None

    def delete_log(self, log: Log, *, token: str) -> None:
        """Remove a log for good. `token`, 32 hexadecimal digits, is new each time: a log may be made there at once."""
        log.discard()
        self._remove(log.directory, token)

    def delete_leftover(self, name: LogName, *, token: str) -> None:
        """Remove a log that is not open: the crash came between the decision to delete it and the deed."""
        self._remove(f"{name.topic}-{name.partition}", token)

    def free_bytes(self) -> int:
        """Space left on the disk."""
        return self._disk.free_bytes()

    def total_bytes(self) -> int:
        """Space on the disk, used or not."""
        return self._disk.total_bytes()

    def close(self) -> None:
        """Say that the stop was clean, for which every log must have been closed, and let others have the directory."""
        replace_file(self._disk, CLEAN_SHUTDOWN, CLEAN_SHUTDOWN_CONTENTS)
        self._lock.release()

    def release(self) -> None:
        """Let others have the directory without saying that the stop was clean: they will look at everything again."""
        self._lock.release()

    def _remove(self, directory: str, token: str) -> None:
        """Under another name first: from then on it is gone, however long removing the files takes."""
        doomed = _shortened(directory, f".{token}{DELETE_SUFFIX}")
        self._disk.rename(directory, doomed)
        self._disk.sync_directory("")
        self._disk.remove_directory(doomed)

    def _open_log(self, directory: str, config: LogConfig, *, trusted: bool, now_ms: int) -> Log:
        opened = open_log(self._disk, directory, config=config, handles=self._handles, trusted=trusted, now_ms=now_ms)
        self._producer_room.adopt(opened.producers)
        return Log(self._disk, directory, opened=opened, config=config, handles=self._handles)


def log_directories(disk: Disk) -> list[str]:
    """The names of the directories that hold a log each, whatever may be wrong in them."""
    return [name for name in disk.list("") if _LOG_DIRECTORY.fullmatch(name) and disk.is_directory(name)]


def encode_partition_metadata(topic_id: UUID) -> bytes:
    """The contents of `partition.metadata`."""
    return f"version: 0\ntopic_id: {encode_id(topic_id)}".encode("ascii")


def read_partition_metadata(disk: Disk, directory: str) -> UUID:
    """The id of the topic whose log lies in `directory`; `CorruptLog` if that cannot be told."""
    path = f"{directory}/{PARTITION_METADATA}"
    if not disk.exists(path):
        raise CorruptLog(path, 0, "missing")
    match = re.fullmatch(rb"version: 0\ntopic_id: ([A-Za-z0-9_-]{22})\n?", read_file(disk, path))
    if match is None:
        raise CorruptLog(path, 0, "not a partition.metadata of version 0")
    return UUID(bytes=urlsafe_b64decode(match[1] + b"=="))


def encode_id(identity: UUID) -> str:
    """An id as Kafka writes it: url-safe base64 without padding."""
    return urlsafe_b64encode(identity.bytes).rstrip(b"=").decode("ascii")


def check_format(disk: Disk) -> dict[str, str] | None:
    """The properties of a directory that is ours; None for one that is new; else `UnknownFormat`."""
    if not disk.exists(META):
        foreign = [name for name in disk.list("") if name not in (LOCK, META + TEMPORARY_SUFFIX, "lost+found")]
        if foreign:
            raise UnknownFormat(f"there is no {META}, but there are other files, {foreign[0]} for one")
        return None
    properties = _parse_properties(read_file(disk, META))
    found = (properties.get("version"), properties.get("tidelog.format.version"))
    unknown = [name for name in properties.get(FEATURES, "").split(",") if name]
    if unknown:
        raise UnknownFormat(f"{META} names features that this version does not know: {', '.join(unknown)}")
    if None in found or not properties.get("cluster.id"):
        raise UnknownFormat(
            f"{META} is damaged, or none of ours: it lacks a version, a format version or the cluster.id"
        )
    if found != (str(META_VERSION), str(FORMAT_VERSION)):
        raise UnknownFormat(
            f"{META} states version {found[0]} and format version {found[1]}; "
            f"versions {META_VERSION} and {FORMAT_VERSION} can be read"
        )
    if properties.get("directory.id") != _directory_id(properties["cluster.id"], properties.get("node.id", "")):
        raise UnknownFormat(f"{META} is damaged: its directory.id is not that of its cluster.id and node.id")
    return properties


def _format(disk: Disk, cluster_id: str, node_id: int, now_ms: int) -> dict[str, str]:
    """Make a new directory ours."""
    properties = {
        "cluster.id": cluster_id,
        "directory.id": _directory_id(cluster_id, str(node_id)),
        "node.id": str(node_id),
        "tidelog.format.version": str(FORMAT_VERSION),
        "version": str(META_VERSION),
    }
    made = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="seconds")
    lines = [f"#{made}", *(f"{key}={value}" for key, value in properties.items())]
    replace_file(disk, META, "".join(f"{line}\n" for line in lines).encode("utf-8"))
    return properties


def _directory_id(cluster_id: str, node_id: str) -> str:
    """One directory per node. It follows from the other two, and so tells when one of the three is not what it was."""
    return encode_id(uuid5(NAMESPACE_URL, f"tidelog:{cluster_id}/{node_id}"))


def _parse_properties(data: bytes) -> dict[str, str]:
    """Java's properties, as far as meta.properties needs them."""
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith(("#", "!"))]
    return {key.strip(): value.strip() for key, _, value in pairs}


def _remove_interrupted(disk: Disk) -> None:
    """Remove logs that were being deleted or made when the last process ended; what cannot be stays for the next."""
    for name in disk.list(""):
        try:
            if _INTERRUPTED.fullmatch(name) and disk.is_directory(name):
                logger.info("removing what was left behind directory=%s", name)
                disk.remove_directory(name)
            elif name in _TEMPORARY and not disk.is_directory(name):
                disk.remove(name)
        except DiskFailed as error:
            logger.warning("not removed yet path=%s error=%s", name, error)


def _shortened(directory: str, suffix: str) -> str:
    """`<topic>-<partition>` with a suffix, the topic cut as far as a file name must be."""
    topic, _, partition = directory.rpartition("-")
    rest = f"-{partition}{suffix}"
    return topic[: NAME_SIZE_MAX - len(rest)] + rest
