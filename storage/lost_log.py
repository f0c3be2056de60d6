"""What stands for a log of which nothing can be opened: quarantined from the first byte to the last.

Its files are left as they are, and none of them is opened. Where its durable mark can be read the log is taken to end,
and to begin, there; nothing is to be concluded from that, so whoever asks for its offsets must be refused.
"""

from .config import LogConfig
from .disk import Disk
from .durable_mark import DurableMark
from .errors import CorruptLog, StorageError
from .handles import Handles
from .leader_epochs import LeaderEpochs
from .producer_snapshots import ProducerSnapshots
from .producer_state import ProducerState
from .recovery import OpenedLog, Recovered
from .segment import Boundary, Room, Segment


def lost(disk: Disk, directory: str, *, config: LogConfig, handles: Handles, because: StorageError) -> OpenedLog:
    """The parts of such a log."""
    damage = because if isinstance(because, CorruptLog) else CorruptLog(directory, 0, str(because))
    try:
        mark = DurableMark.read(disk, directory)
    except StorageError:
        mark = DurableMark(disk, directory)
    end_offset = mark.offset or 0
    epochs = LeaderEpochs(disk, directory)
    room = Room(disk, directory, config, handles, epochs)
    return OpenedLog(
        segments=[Segment(room, end_offset, end=Boundary(0, end_offset))],
        leader_epochs=epochs,
        mark=mark,
        producers=ProducerState(),
        snapshots=ProducerSnapshots(disk, directory),
        end_offset=end_offset,
        recovered=Recovered(quarantined=damage, lost=True),
    )
