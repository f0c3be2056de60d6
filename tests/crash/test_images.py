"""Crash-state enumeration [A1]: see `crash.images`. First its model and its oracle are proved, then all is played.

A bug of each kind is planted (a sync that is forgotten, of a file and of a directory; a file that is written in place
instead of renamed; a log that is cut in the wrong place; a checksum that nobody looks at), and must be caught.
"""

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import pytest
from crc32c import crc32c

from crash.images import brokers, logs, world
from crash.images.__main__ import main
from crash.images.campaign import PLANS, broker_stories, log_stories, names, run, run_in_processes
from crash.images.choices import BUILD, choices, parts
from crash.images.disk import CrashDisk
from crash.images.model import Arrived, Digests, Part, Step, Tree, Write, files_of, image, whole
from crash.images.owner import LogPromises
from crash.images.promises import Broken, LogBook, Presence
from crash.images.recording import Story
from crash.plants import Believed
from support.builders import a_batch
from support.proofs import IS_PROOF, PROOFS, record
from tidelog.protocol.batch import crc_of
from tidelog.storage.checkpoint import create_file
from tidelog.storage.disk import Disk
from tidelog.storage.errors import DiskFailed

PROCESSES = 2

P = TypeVar("P")


# The model


def left_of(disk: CrashDisk, *arrived: Arrived) -> dict[str, bytes]:
    """The files after a power cut of which these changes arrive."""
    return dict(files_of(image(disk.instant(), arrived)))


def test_what_was_synced_stays_and_of_the_rest_any_selection_arrives() -> None:
    disk = CrashDisk({"f": b"old"})
    file = disk.open("f")
    file.append([b" synced"])
    file.sync()
    file.append([b" one"])
    file.write(0, b"NEW")
    one, new = disk.instant().changes
    assert left_of(disk) == {"f": b"old synced"}
    assert left_of(disk, Arrived(one, whole(one))) == {"f": b"old synced one"}
    assert left_of(disk, Arrived(new, whole(new))) == {"f": b"NEW synced"}
    assert left_of(disk, Arrived(one, whole(one)), Arrived(new, whole(new))) == {"f": b"NEW synced one"}


def test_a_write_arrives_in_any_part_and_the_file_may_be_longer_than_that() -> None:
    disk = CrashDisk({"f": b""})
    disk.open("f").append([b"abcdef"])
    [write] = disk.instant().changes
    assert left_of(disk, Arrived(write, Part(((0, 2),), is_as_long=False))) == {"f": b"ab"}
    assert left_of(disk, Arrived(write, Part(((0, 2),)))) == {"f": b"ab\0\0\0\0"}
    assert left_of(disk, Arrived(write, Part(((0, 1), (4, 6))))) == {"f": b"a\0\0\0ef"}
    assert left_of(disk, Arrived(write, Part(()))) == {"f": bytes(6)}


def test_names_and_contents_are_made_durable_apart() -> None:
    disk = CrashDisk({"d": {}})
    file = disk.open("d/new", create=True)
    file.append([b"contents"])
    file.sync()
    assert left_of(disk) == {"d/": b""}
    [made] = disk.instant().changes
    assert left_of(disk, Arrived(made, whole(made))) == {"d/": b"", "d/new": b"contents"}
    disk.sync_directory("d")
    disk.rename("d/new", "d/newer")
    file.append([b", more"])
    renamed, appended = disk.instant().changes
    assert isinstance(renamed, Step)
    assert isinstance(appended, Write)
    assert left_of(disk) == {"d/": b"", "d/new": b"contents"}
    assert left_of(disk, Arrived(renamed, whole(renamed))) == {"d/": b"", "d/newer": b"contents"}
    disk.sync_directory("d")
    assert left_of(disk) == {"d/": b"", "d/newer": b"contents"}


def test_a_name_whose_making_did_not_arrive_cannot_be_changed() -> None:
    disk = CrashDisk({"f": b"old"})
    disk.open("f.tmp", create=True).append([b"new"])
    disk.rename("f.tmp", "f")
    _, _, renamed = disk.instant().changes
    assert left_of(disk, Arrived(renamed, whole(renamed))) == {"f": b"old"}


def test_what_a_failed_sync_gave_up_is_shown_and_not_written_until_it_is_written_again() -> None:
    """A5."""
    disk = CrashDisk({"f": b"old"})
    file = disk.open("f")
    file.append([b" lost"])
    disk.fail_next("sync", "f")
    with pytest.raises(DiskFailed):
        file.sync()
    file.sync()
    assert file.read(0, 100) == b"old lost"
    assert left_of(disk) == {"f": b"old"}
    [given_up] = disk.instant().changes
    assert left_of(disk, Arrived(given_up, whole(given_up))) == {"f": b"old lost"}
    file.write(3, b" lo")
    file.sync()
    assert left_of(disk) == {"f": b"old lo"}
    file.write(3, b" lost")
    file.sync()
    assert left_of(disk) == {"f": b"old lost"}
    assert not disk.instant().changes


def test_the_death_of_the_process_loses_nothing() -> None:
    disk = CrashDisk({})
    file = disk.open("f", create=True)
    file.append([b"written"])
    disk.kill()
    with pytest.raises(DiskFailed):
        file.sync()
    assert disk.tree() == {"f": b"written"}
    assert left_of(disk) == {}


def test_the_choices_are_systematic() -> None:
    """What A1 asks for: none, all, prefixes, subsets, torn sectors, zeros, other orders; names kept and lost."""
    disk = CrashDisk({"a": b"", "b": b"old"})
    disk.open("a").append([b"x" * 1200])
    disk.open("b").write(0, b"new")
    disk.open("c", create=True)
    changes = disk.instant().changes
    found = {
        tuple(sorted(files_of(image(disk.instant(), choice)))) for choice in choices(changes, BUILD, random.Random(1))
    }
    for a in (
        b"",
        b"x" * 1200,
        b"x" * 512,
        b"x" * 1024 + bytes(176),
        bytes(1200),
        b"x" * 512 + bytes(512) + b"x" * 176,
    ):
        assert any(("a", a) in files for files in found), (len(a), a.count(0))
    whole_ones = {files for files in found if dict(files)["a"] in (b"", b"x" * 1200)}
    assert {(("c", b"") in files, dict(files)["b"], bool(dict(files)["a"])) for files in whole_ones} >= {
        (c, b, a) for c in (True, False) for b in (b"old", b"new") for a in (True, False)
    }


def test_a_write_is_torn_at_the_sectors_of_the_file_and_not_of_the_data() -> None:
    disk = CrashDisk({"f": bytes(500)})
    disk.open("f").append([b"x" * 600])
    [write] = disk.instant().changes
    cuts = {part.pieces[0][1] for part in parts(write, BUILD.parts) if len(part.pieces) == 1 and not part.is_as_long}
    assert {12, 524} <= cuts


def test_disks_are_told_apart_by_every_byte_and_every_name() -> None:
    trees: list[Tree] = [{}, {"f": b""}, {"f": b"1"}, {"g": b"1"}, {"f": {}}, {"f": {"1": b""}}, {"f": b"1", "g": b""}]
    digests = Digests()
    assert len({digests.of(tree) for tree in trees}) == len(trees)
    assert Digests().of({"f": b"1", "g": b"2"}) == digests.of({"g": b"2", "f": b"1"})


def test_an_instant_stays_as_it_was_when_the_disk_goes_on() -> None:
    disk = CrashDisk({"f": b"old"})
    disk.open("f").append([b"1"])
    before = disk.instant()
    disk.open("f").sync()
    disk.remove("f")
    assert dict(files_of(image(before, ()))) == {"f": b"old"}
    assert len(before.changes) == 1


# The oracle


def test_the_oracle_stamps_offsets_by_itself() -> None:
    book = LogBook(epoch=3)
    book.send(bytes(a_batch([b"1", b"2"])))
    book.send(bytes(a_batch([b"3"], producer_id=7, producer_epoch=0, base_sequence=5)))
    assert [(batch.base_offset, batch.next_offset) for batch in book.batches] == [(0, 2), (2, 3)]
    assert book.batches[1].data == bytes(
        a_batch([b"3"], producer_id=7, producer_epoch=0, base_sequence=5, base_offset=2, leader_epoch=3)
    )
    assert book.next_sequence(7, 0) == 6
    book.promise(2)
    assert book.safe == 1


def test_the_oracle_misses_what_was_promised_and_is_not_there() -> None:
    [story] = log_stories(["format_a_new_directory"])
    last = story.moments[-1]
    tree = image(last.instant, [Arrived(change, whole(change)) for change in last.instant.changes])
    promises = last.promises
    rest = logs.recover(CrashDisk(tree), tree, promises)
    assert rest.logs["t-0"].end_offset == 2
    files = tree["t-0"]
    assert isinstance(files, dict)
    log = f"{0:020d}.log"
    content = files[log]
    assert isinstance(content, bytes)
    second = rest.logs["t-0"].sent[1]
    for damaged in (
        content[: -len(second.data)],
        content[:-1],
        content.replace(b"value 0 ", b"value 9 "),
        content + bytes(a_batch([b"nobody sent this"], base_offset=2, leader_epoch=0)),
    ):
        other: Tree = {**tree, "t-0": {**files, log: damaged}}
        with pytest.raises(Broken):
            logs.recover(CrashDisk(other), other, promises)
    more = {**rest.logs, "u-0": LogBook(presence=Presence.MUST).snapshot()}
    with pytest.raises(Broken, match="must be there"):
        logs.recover(CrashDisk(tree), tree, LogPromises(more))
    with pytest.raises(Broken, match="nobody made"):
        logs.recover(CrashDisk(tree), tree, LogPromises({}))


def calls_of(told: Iterable[Story[P]]) -> dict[str, str]:
    """All calls of each story on its disk."""
    return {story.name: " | ".join(moment.before for moment in story.moments) for story in told}


def test_every_script_does_what_it_is_there_for() -> None:
    """Segments roll, logs are cut, snapshots, checkpoints and digests are written: else their images prove nothing."""
    told = list(log_stories())
    calls = calls_of(told) | calls_of(broker_stories())
    assert list(calls) == names()
    epochs = {story.name: story.moments[-1].promises.logs["t-0"].epoch for story in told}
    assert {script: epoch for script, epoch in epochs.items() if epoch} == {"cut_and_go_on": 2, "cut_with_producers": 1}
    assert calls["roll"].count("open t-0/") >= 5
    assert ".snapshot.tmp" in calls["idempotent_producers"]
    assert ".snapshot.tmp" in calls["checkpoints"]
    assert ".timeindex | sync t-0/" in calls["checkpoints"]
    assert "rename t-0/00000000000000000001.digest.tmp" in calls["digests"]
    assert ".digest.tmp" in calls["producers_number_their_batches"]
    assert "index.tmp" in calls["lost_indexes"]
    assert "remove_directory orders-0" in calls["topics_come_and_go"]
    for script in ("groups_read", "consumers_are_assigned_to", "groups_migrate"):
        assert "append __consumer_offsets-" in calls[script], script
    assert "rename t-0/quarantined.tmp" in calls["quarantined"]
    assert "remove t-0/quarantined" in calls["quarantined"]
    for script in ("idempotent_producers", "stop_and_start", "settings_change", "groups_read"):
        assert ".kafka_cleanshutdown" in calls[script], script


def test_every_script_can_be_told_with_the_longest_values() -> None:
    longest = PLANS["release"].variants - 1
    assert all(logs.told(one, variant=longest).moments for one in logs.SCRIPTS)
    assert all(brokers.told(one, variant=longest).moments for one in brokers.SCRIPTS)


# Planted bugs


def violations(*scripts: str, ignores: Iterable[tuple[str, str]] = ()) -> list[str]:
    """What a quick look at these scripts finds."""
    inquest = replace(PLANS["quick"], ignores=tuple(ignores), cut_again_every=10)
    return run(inquest, wanted=scripts).violations


PROBES = ("format_a_new_directory", "cut_and_go_on")


def test_nothing_is_found_where_nothing_is_planted() -> None:
    assert not violations(*PROBES)


@pytest.mark.parametrize(
    "forgotten",
    [
        ("sync", ".log"),
        ("sync", "durable-mark"),
        ("sync", "leader-epoch-checkpoint.tmp"),
        ("sync", "partition.metadata"),
        ("sync", "meta.properties.tmp"),
        ("sync_directory", "t-0"),
        ("sync_directory", "t-0-create"),
        ("sync_directory", ""),
    ],
    ids="-".join,
)
def test_a_forgotten_sync_is_caught(forgotten: tuple[str, str]) -> None:
    assert violations(*PROBES, ignores=[forgotten])


def in_place(disk: Disk, path: str, data: bytes) -> None:
    """`replace_file`, without the file that is renamed."""
    if disk.exists(path):
        disk.remove(path)
    create_file(disk, path, data)
    disk.sync_directory(path.rpartition("/")[0])


def test_a_file_that_is_replaced_without_a_rename_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.storage.log_directory.replace_file", in_place)
    assert violations(*PROBES)


@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_log_that_is_cut_in_the_wrong_place_is_caught(off_by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from crash.images.disk import CrashFile

    truncate = CrashFile.truncate

    def wrong(file: CrashFile, size: int) -> None:
        truncate(file, size + off_by if size else size)

    monkeypatch.setattr(CrashFile, "truncate", wrong)
    assert violations("cut_and_go_on", "much_unsynced")


def test_a_checksum_that_nobody_looks_at_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.storage.scan.crc32c", lambda *of: Believed(crc32c(*of)))
    monkeypatch.setattr("tidelog.storage.segment.crc_of", lambda *of: Believed(crc_of(*of)))
    assert violations("much_unsynced", "roll")


def test_a_quarantine_that_is_not_noted_down_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not violations("quarantined")
    assert not violations("quarantined", ignores=[("sync", "quarantined.tmp")]), "an empty note says enough"
    monkeypatch.setattr("tidelog.storage.log.note_damage", lambda *about, durable: None)
    with pytest.raises(Broken):  # the script's own next start does not find it
        violations("quarantined")


def test_an_answer_that_comes_before_the_disk_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `write.caching`, of which nobody here was told."""
    config = world.CONFIG
    monkeypatch.setattr(world, "CONFIG", replace(config, log=replace(config.log, write_caching=True)))
    assert violations("topics_come_and_go")


def test_the_command_ends_with_1_at_a_violation(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--quick", "--script", "format_a_new_directory"]
    assert main(quick) == 0
    assert main([*quick, "--ignore", "sync:.log"]) == 1
    assert "1 violations" in capsys.readouterr().out


# And now all of it


def test_no_promise_is_broken_in_any_image_of_any_script() -> None:
    """A1, at every moment of every script; TIDELOG_PROOF=1 draws more images of each moment."""
    figures = run_in_processes("release" if IS_PROOF else "build", PROCESSES)
    record(
        "crash images",
        size=figures.images,
        lost=len(figures.violations),
        details={"moments": figures.moments, "recoveries cut again at every call": figures.cut_again},
    )
    assert not figures.violations, "\n".join(figures.violations)
    row = PROOFS["crash images"]
    assert figures.images >= (row.release_min if IS_PROOF else row.build_min)
