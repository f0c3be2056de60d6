"""What the indexes of a log are, and what they should be."""

from tidelog.storage.offset_index import OffsetIndex
from tidelog.storage.scan import scan
from tidelog.storage.segment_indexes import Tally
from tidelog.storage.time_index import NOTHING, TimeIndex

from .disk import SimulatedDisk


def indexes(disk: SimulatedDisk) -> dict[str, bytes]:
    """Those that lie on the disk, by path."""
    return {name: data for name, data in disk.tree().items() if name.endswith("index")}


def rebuilt(disk: SimulatedDisk, *, interval_bytes: int) -> dict[str, bytes]:
    """What they are when they are built from the batches alone, every segment being closed."""
    found: dict[str, bytes] = {}
    for path in disk.tree():
        stem, dot, suffix = path.rpartition(".")
        if suffix != "log":
            continue
        base_offset = int(stem.rpartition("/")[2])
        tally = Tally(interval_bytes)
        for position, header in scan(disk.open(path), base_offset):
            tally.add(position, header.size, header.last_offset, header.max_timestamp)
        times, last = b"", NOTHING
        for greatest in [*(point.greatest for point in tally.points), tally.greatest]:
            if greatest.timestamp > last.timestamp:
                times, last = times + TimeIndex.encode(greatest, base_offset), greatest
        found[f"{stem}{dot}index"] = b"".join(OffsetIndex.encode(point.batch, base_offset) for point in tally.points)
        found[f"{stem}{dot}timeindex"] = times
    return found
