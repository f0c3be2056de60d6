"""Whether the cluster's metadata can be read, asked before anything in the data directory is changed.

Everything else hangs on these records: a start without some of them would take topics for deleted, and what lies in
their directories for leftovers. So damage below the log's durable mark, and a fact that a later version wrote, refuse
the start, and leave every byte as it was for whoever can help. A torn tail is no damage: recovery will cut it.
"""

from ...protocol.errors import ProtocolError
from ...protocol.records import iterate
from ...storage.disk import Disk
from ...storage.durable_mark import DurableMark
from ...storage.errors import CorruptLog, StorageError
from ...storage.leader_epochs import LeaderEpochs
from ...storage.leftovers import segment_bases
from ...storage.log_directory import CLEAN_SHUTDOWN, log_directories, read_partition_metadata
from ...storage.scan import scan
from ...storage.segment import SUFFIX
from ..topics.internal_topics import METADATA_TOPIC
from .records import UnknownFact, decode

DIRECTORY = f"{METADATA_TOPIC}-0"


class MetadataDamaged(Exception):
    """The cluster's metadata cannot be read. Nothing was changed."""

    def __init__(self, cause: Exception | str) -> None:
        super().__init__(f"the cluster's metadata cannot be read, and nothing was changed: {cause}")


def check_metadata(disk: Disk) -> None:
    """Read every fact and change nothing. Raises MetadataDamaged."""
    try:
        if disk.is_directory(DIRECTORY):
            read_partition_metadata(disk, DIRECTORY)
            _read_facts(disk)
            return
    except (StorageError, ProtocolError, UnknownFact) as error:
        raise MetadataDamaged(error) from error
    orphans = log_directories(disk)
    if orphans:
        raise MetadataDamaged(f"{DIRECTORY} is missing, but there are logs, {orphans[0]} for one")
    if disk.exists(CLEAN_SHUTDOWN):
        raise MetadataDamaged(f"{DIRECTORY} is missing, and was there when the last broker stopped")


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
