"""Whether the cluster's metadata can be read, asked before anything in the data directory is changed.

Everything else hangs on these records: a start without some of them would take topics for deleted, and what lies in
their directories for leftovers. So damage below the log's durable mark, and a fact that a later version wrote, refuse
the start, and leave every byte as it was for whoever can help. A torn tail is no damage: recovery will cut it.
"""

from ...protocol.errors import ProtocolError
from ...protocol.records import iterate
from ...storage.checkpoint import read_head
from ...storage.disk import Disk
from ...storage.durable_mark import FILE_NAME as DURABLE_MARK
from ...storage.durable_mark import DurableMark
from ...storage.errors import CorruptLog, StorageError
from ...storage.leader_epochs import FILE_NAME as LEADER_EPOCHS
from ...storage.leader_epochs import LeaderEpochs
from ...storage.leftovers import is_segments_or_unfinished, segment_bases
from ...storage.log_directory import CLEAN_SHUTDOWN, log_directories, read_partition_metadata
from ...storage.quarantine import FILE_NAME as QUARANTINED
from ...storage.scan import scan
from ...storage.segment import SUFFIX
from ...storage.write_caching import FILE_NAME as WRITE_CACHING
from ..topics.internal_topics import METADATA_TOPIC
from .records import UnknownFact, decode

DIRECTORY = f"{METADATA_TOPIC}-0"
NAMED = frozenset({DURABLE_MARK, LEADER_EPOCHS, QUARANTINED, WRITE_CACHING})
"""Files of a log that belong to no segment."""


class MetadataDamaged(Exception):
    """The cluster's metadata cannot be read. Nothing was changed, unless the damage was found after the check."""

    def __init__(self, cause: Exception | str, *, was_checked: bool = False) -> None:
        what_follows = "" if was_checked else ", and nothing was changed"
        super().__init__(f"the cluster's metadata cannot be read{what_follows}: {cause}")


def check_metadata(disk: Disk) -> None:
    """Read every fact and change nothing. Raises MetadataDamaged."""
    try:
        if disk.is_directory(DIRECTORY):
            read_partition_metadata(disk, DIRECTORY)
            _check_files(disk)
            _read_facts(disk)
            return
    except (StorageError, ProtocolError, UnknownFact) as error:
        raise MetadataDamaged(error) from error
    orphans = log_directories(disk)
    if orphans:
        raise MetadataDamaged(f"{DIRECTORY} is missing, but there are logs, {orphans[0]} for one")
    if disk.exists(CLEAN_SHUTDOWN):
        raise MetadataDamaged(f"{DIRECTORY} is missing, and was there when the last broker stopped")


def _check_files(disk: Disk) -> None:
    """Raises Unreadable if there is something that cannot be opened, a directory, say, where recovery wants a file."""
    for name in disk.list(DIRECTORY):
        if name in NAMED or is_segments_or_unfinished(name):
            read_head(disk, f"{DIRECTORY}/{name}", 0)


def _read_facts(disk: Disk) -> None:
    """As recovery would, but that nothing is cut. Raises CorruptLog, ProtocolError, UnknownFact."""
    durable_mark = DurableMark.read(disk, DIRECTORY)
    mark = durable_mark.offset
    try:
        epochs = LeaderEpochs.read(disk, DIRECTORY, known=durable_mark.epochs)
    except CorruptLog:
        epochs = None  # they are written anew from the batches
    bases = segment_bases(disk, DIRECTORY)
    if not bases:
        raise CorruptLog(DIRECTORY, 0, f"no segment is left; the durable mark is {mark}")
    expected = bases[0]
    start = 0 if epochs is None else epochs.entries[0].start_offset
    if start < expected:
        raise CorruptLog(DIRECTORY, 0, f"it begins at {expected}, and did at {start}")
    try:
        for base in bases:
            path = f"{DIRECTORY}/{base:020d}{SUFFIX}"
            if base < expected and disk.size(path) == 0:
                continue  # a segment that could not be made, nor unmade
            if base != expected:
                raise CorruptLog(path, 0, f"the segment begins where {expected} should be")
            file = disk.open(path)
            try:
                for position, header in scan(file, expected, epochs=epochs):
                    for record in iterate(file.read(position, header.size)):
                        decode(record.value or b"")
                    expected = header.next_offset
            finally:
                file.close()
    except CorruptLog:
        if not durable_mark.may_cut(was_closed=disk.exists(CLEAN_SHUTDOWN)) or expected < (mark or 0):
            raise
    if mark is not None and expected < mark:
        raise CorruptLog(DIRECTORY, 0, f"the log ends at {expected}, below the durable mark {mark}")
