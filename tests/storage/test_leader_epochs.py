"""Leader epochs: Kafka's file, and the questions that clients ask of them."""

import pytest

from support.disk import SimulatedDisk
from tidelog.storage.errors import CorruptLog, DiskFailed
from tidelog.storage.leader_epochs import EpochEnd, EpochStart, KnownEpochs, LeaderEpochs


def a_disk(text: bytes | None = None) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    if text is not None:
        disk.open("t-0/leader-epoch-checkpoint", create=True).append([text])
    return disk


def test_the_file_is_kafkas_text() -> None:
    """L-2, L-15."""
    disk = a_disk()
    epochs = LeaderEpochs(disk, "t-0")
    assert epochs.latest == -1
    epochs.assign(0, 0)
    epochs.assign(3, 1042)
    assert disk.tree()["t-0/leader-epoch-checkpoint"] == b"0\n2\n0 0\n3 1042\n"
    assert LeaderEpochs.read(disk, "t-0").entries == [EpochStart(0, 0), EpochStart(3, 1042)]


def test_an_epoch_that_begins_before_others_ended_replaces_them() -> None:
    epochs = LeaderEpochs(a_disk(), "t-0", [EpochStart(0, 0), EpochStart(1, 50), EpochStart(2, 80)])
    epochs.assign(3, 50)
    assert epochs.entries == [EpochStart(0, 0), EpochStart(3, 50)]


def test_an_epoch_is_durable_before_it_is_used() -> None:
    disk = a_disk()
    disk.sync_directory("")
    epochs = LeaderEpochs(disk, "t-0")
    epochs.assign(0, 0)
    disk.fail_next("sync")
    with pytest.raises(DiskFailed):
        epochs.assign(1, 10)
    assert epochs.latest == 0
    disk.crash()
    assert LeaderEpochs.read(disk, "t-0").latest == 0


@pytest.mark.parametrize(
    ("epoch", "answer"),
    [
        (-1, None),
        (1, EpochEnd(1, 10)),
        (2, EpochEnd(2, 50)),
        (3, EpochEnd(2, 50)),
        (4, EpochEnd(2, 50)),
        (5, EpochEnd(5, 99)),
        (6, None),
    ],
)
def test_where_an_epoch_ended_is_where_the_next_began(epoch: int, answer: EpochEnd | None) -> None:
    """L-15, OffsetForLeaderEpoch."""
    epochs = LeaderEpochs(a_disk(), "t-0", [EpochStart(2, 10), EpochStart(5, 50)])
    assert epochs.end_of(epoch, end_offset=99) == answer


def test_the_epoch_of_an_offset() -> None:
    epochs = LeaderEpochs(a_disk(), "t-0", [EpochStart(2, 10), EpochStart(5, 50)])
    assert [epochs.epoch_at(offset) for offset in (0, 9, 10, 49, 50, 1000)] == [-1, -1, 2, 2, 5, 5]


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"0\n0\n",
        b"0\n1\n-1 0\n",
        b"0\n1\n0 -5\n",
        b"0\n2\n1 0\n1 5\n",
        b"0\n2\n1 5\n2 5\n",
        b"0\n2\n2 0\n1 5\n",
        b"1\n1\n0 0\n",
    ],
)
def test_what_cannot_be_is_refused(text: bytes | None) -> None:
    with pytest.raises(CorruptLog):
        LeaderEpochs.read(a_disk(text), "t-0")


def test_a_doubt_is_told_in_plain_words() -> None:
    with pytest.raises(CorruptLog) as caught:
        LeaderEpochs.read(a_disk(b"0\n2\n1 5\n2 5\n"), "t-0")
    order = "leader epoch 2 from offset 5 on stands behind leader epoch 1 from offset 5 on"
    assert str(caught.value) == f"t-0/leader-epoch-checkpoint at 0: {order}"
    with pytest.raises(CorruptLog) as caught:
        LeaderEpochs.read(a_disk(b"0\n1\n0 0\n"), "t-0", known=KnownEpochs(3, 0xAB))
    known = "leader epochs up to 0 with the CRC-32C 0x7051871e; the durable mark knows leader epochs up to 3"
    assert str(caught.value) == f"t-0/leader-epoch-checkpoint at 0: it holds {known} with the CRC-32C 0x000000ab"
