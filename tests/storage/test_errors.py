"""What storage raises carries data, not only text."""

from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull, LogOffline, OffsetOutOfRange, StorageError


def test_errors_carry_what_they_are_about() -> None:
    out_of_range = OffsetOutOfRange(7, 1, 5)
    assert (out_of_range.offset, out_of_range.start, out_of_range.end) == (7, 1, 5)
    corrupt = CorruptLog("t-0/x.log", 9, "why")
    assert (corrupt.path, corrupt.position, corrupt.reason) == ("t-0/x.log", 9, "why")
    assert "x.log at 9: why" in str(corrupt)
    assert corrupt.end is None
    assert "x.log from 9 to 70: why" in str(CorruptLog("t-0/x.log", 9, "why", end=70))
    assert LogOffline("t-0", "why").directory == "t-0"


def test_a_full_disk_is_a_failed_disk_and_all_are_storage_errors() -> None:
    assert issubclass(DiskFull, DiskFailed)
    assert issubclass(DiskFailed, StorageError)
