"""Under `write.caching` a power cut takes back what consumers have seen, and they must learn of it [L-15]."""

import pytest

from support.builders import a_batch
from support.disk import SimulatedDisk
from support.logs import append, flush, open_directory, open_log
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import DiskFailed
from tidelog.storage.leader_epochs import EpochEnd
from tidelog.storage.log import Log
from tidelog.storage.write_caching import FILE_NAME, is_caching_noted

CACHING = LogConfig(write_caching=True, segment_bytes=4096)
FIRST = "t-0/00000000000000000000.log"
SIZE = len(a_batch())


def start(disk: SimulatedDisk, config: LogConfig = CACHING) -> Log:
    return open_log(open_directory(disk), config)


def ten(log: Log) -> None:
    for _ in range(10):
        append(log, a_batch())


def after_a_power_cut_between_batches(disk: SimulatedDisk, config: LogConfig = CACHING, *, left: int = 13) -> Log:
    disk.crash()
    file = disk.open(FIRST)
    file.truncate(left * SIZE)
    file.sync()
    file.close()
    return start(disk, config)


def shown_and_not_durable(seed: int = 0) -> SimulatedDisk:
    """Ten batches that are marked, and ten that were only seen."""
    disk = SimulatedDisk(seed)
    log = start(disk)
    ten(log)
    flush(log)
    log.write_mark()
    ten(log)
    return disk


@pytest.mark.parametrize("seed", range(30))
def test_whoever_saw_more_than_a_power_cut_left_is_told_where_the_epoch_ended(seed: int) -> None:
    """KIP-320, wherever it came: else records that were acknowledged later would be skipped."""
    disk = shown_and_not_durable(seed)
    disk.crash()
    log = start(disk)
    left = log.end_offset
    assert left >= 10
    ten(log)
    flush(log)
    assert log.leader_epoch == 1
    assert log.leader_epochs.end_of(0, end_offset=log.end_offset) == EpochEnd(0, left)


@pytest.mark.parametrize("now", [CACHING, LogConfig()])
def test_what_the_settings_are_at_the_next_start_changes_nothing(now: LogConfig) -> None:
    log = after_a_power_cut_between_batches(shown_and_not_durable(), now)
    assert (log.leader_epoch, log.end_offset, log.recovered.truncated_bytes) == (1, 13, 0)


def test_who_turns_it_off_has_not_made_durable_what_was_seen_before() -> None:
    disk = SimulatedDisk()
    log = start(disk)
    ten(log)
    log.reconfigure(LogConfig())
    append(log, a_batch())
    assert after_a_power_cut_between_batches(disk, LogConfig(), left=7).leader_epoch == 1


def test_who_turns_it_on_shows_what_was_written_before() -> None:
    """Nothing need be appended for that: a producer that sends a batch again is enough."""
    disk = SimulatedDisk()
    log = start(disk, LogConfig())
    ten(log)
    assert not is_caching_noted(disk, "t-0")
    log.reconfigure(CACHING)
    log.write_out()
    assert after_a_power_cut_between_batches(disk, left=7).leader_epoch == 1


def test_no_epoch_begins_where_consumers_see_only_what_is_durable() -> None:
    disk = SimulatedDisk()
    ten(start(disk, LogConfig()))
    assert after_a_power_cut_between_batches(disk, LogConfig(), left=7).leader_epoch == 0


def test_no_epoch_begins_after_a_clean_stop_nor_where_nothing_was_written() -> None:
    disk = SimulatedDisk()
    log = start(disk)
    ten(log)
    assert is_caching_noted(disk, "t-0")
    log.close()
    assert not is_caching_noted(disk, "t-0")
    for _ in range(2):
        disk.crash()
        assert start(disk).leader_epoch <= 1, "a crash may bring the note back"
    disk.kill()
    before = start(disk).leader_epoch
    disk.kill()
    assert start(disk).leader_epoch == before


def test_one_epoch_begins_for_one_unclean_stop() -> None:
    disk = shown_and_not_durable()
    disk.kill()
    assert start(disk).leader_epoch == 1
    assert not is_caching_noted(disk, "t-0")
    disk.kill()
    log = start(disk)
    assert log.leader_epoch == 1
    append(log, a_batch())
    disk.kill()
    assert start(disk).leader_epoch == 2


def test_a_log_that_is_quarantined_keeps_the_note_until_it_is_sound() -> None:
    disk = shown_and_not_durable()
    sound = disk.tree()[FIRST][: 2 * SIZE]
    disk.corrupt(FIRST, SIZE + 70, b"rot")
    log = after_a_power_cut_between_batches(disk)
    assert log.quarantined is not None
    assert log.leader_epoch == 0
    log.close()
    disk.kill()
    assert is_caching_noted(disk, "t-0")
    disk.corrupt(FIRST, 0, sound)
    assert start(disk).leader_epoch == 1


@pytest.mark.parametrize("call", ["open", "sync_directory"])
def test_nothing_is_written_that_consumers_would_see_before_the_note_is_there(call: str) -> None:
    disk = SimulatedDisk()
    log = start(disk)
    disk.fail_next(call, path=FILE_NAME if call == "open" else "t-0")
    with pytest.raises(DiskFailed):
        append(log, a_batch())
    assert (log.end_offset, disk.size(FIRST)) == (0, 0)
    ten(log)
    assert len(log.read(0, size_max=1 << 20, up_to=10, at_least_one=True).records) == 10 * SIZE


def test_the_note_is_left_once() -> None:
    disk = SimulatedDisk()
    log = start(disk)
    append(log, a_batch())
    calls = disk.calls
    append(log, a_batch())
    assert disk.calls == calls + 1
