"""What is found in a log's files that nobody has open: every damage, by its bytes, and nothing where there is none."""

import pytest

from support.builders import with_header
from support.data_directory import BATCHES, RECORDS, SEGMENTS, make_directory
from support.disk import SimulatedDisk
from tidelog.protocol.batch import HEADER_SIZE, crc_of, read_header
from tidelog.storage.disk import File
from tidelog.storage.durable_mark import SLOT_DISTANCE, SLOT_SIZE, DurableMark, Slot, decode_slot, encode_slot
from tidelog.storage.errors import CorruptLog
from tidelog.storage.leader_epochs import KnownEpochs
from tidelog.storage.quarantine import note_damage
from tidelog.storage.survey import Finding, Grade, Survey, survey_log

LOG = "orders-0"


def path_of(base_offset: int, suffix: str = ".log") -> str:
    return f"{LOG}/{base_offset:020d}{suffix}"


def a_disk(*, closed: bool = True) -> SimulatedDisk:
    disk = SimulatedDisk()
    make_directory(disk, [LOG], closed=closed)
    return disk


def flip(disk: SimulatedDisk, path: str, position: int, bit: int = 1) -> None:
    disk.corrupt(path, position, bytes([disk.tree()[path][position] ^ bit]))


def surveyed(disk: SimulatedDisk, *, was_closed: bool = True, decode: bool = False) -> Survey:
    """Nothing is changed by looking."""
    before, calls = disk.tree(), disk.calls
    survey = survey_log(disk, LOG, was_closed=was_closed, decode=decode)
    assert (disk.tree(), disk.calls) == (before, calls)
    return survey


def the_finding(disk: SimulatedDisk, *, was_closed: bool = True) -> Finding:
    [finding] = surveyed(disk, was_closed=was_closed).findings
    return finding


def append_torn(disk: SimulatedDisk) -> None:
    """Half a batch behind the last one."""
    file = disk.open(path_of(SEGMENTS[-1]))
    file.append([disk.tree()[file.path][:HEADER_SIZE]])
    file.close()


def positions(disk: SimulatedDisk, path: str) -> list[int]:
    """Where the batches of a segment begin, and where the last one ends."""
    data, found = disk.tree()[path], [0]
    while found[-1] < len(data):
        found.append(found[-1] + read_header(data, found[-1]).size)
    return found


@pytest.mark.parametrize("closed", [True, False])
def test_of_a_sound_log_there_are_figures_and_no_findings(closed: bool) -> None:
    survey = surveyed(a_disk(closed=closed), was_closed=closed, decode=True)
    assert survey.findings == []
    assert [segment.base_offset for segment in survey.segments] == list(SEGMENTS)
    assert sum(segment.batches for segment in survey.segments) == BATCHES
    assert sum(segment.records for segment in survey.segments) == BATCHES * RECORDS
    assert (survey.start_offset, survey.end_offset, survey.durable_offset) == (0, 100, 100)
    assert [segment.has_digest for segment in survey.segments] == [True, True, False]
    assert survey.producers == {7}


@pytest.mark.parametrize("base_offset", SEGMENTS[1:])
def test_a_flip_of_any_byte_below_the_mark_is_damage_of_one_batch(base_offset: int) -> None:
    """A8: by its bytes and its offsets, and all other batches are still read."""
    disk, path = a_disk(), path_of(base_offset)
    begins = positions(disk, path)
    for position in range(begins[-1]):
        flip(disk, path, position)
        survey = surveyed(disk)
        [finding] = survey.findings
        number = sum(begin <= position for begin in begins) - 1
        assert finding.grade is Grade.DAMAGE
        assert (finding.path, finding.begin, finding.end) == (path, begins[number], begins[number + 1])
        assert finding.first_offset == base_offset + number * RECORDS
        assert finding.next_offset == finding.first_offset + RECORDS
        assert sum(segment.batches for segment in survey.segments) == BATCHES - 1
        flip(disk, path, position)


@pytest.mark.parametrize("suffix", [".index", ".timeindex", ".digest"])
def test_a_flip_of_any_bit_beside_a_sealed_segment_is_found_and_can_be_mended(suffix: str) -> None:
    """A8: what an index says is compared with the batches, a digest with itself and with its segment."""
    disk, path = a_disk(), path_of(40, suffix)
    for position in range(disk.size(path)):
        for bit in range(8):
            flip(disk, path, position, 1 << bit)
            finding = the_finding(disk)
            assert (finding.grade, finding.path) == (Grade.DERIVED, path)
            flip(disk, path, position, 1 << bit)


@pytest.mark.parametrize("base_offset", [75, 100])
def test_a_flip_of_any_byte_of_a_snapshot_is_found(base_offset: int) -> None:
    disk, path = a_disk(), path_of(base_offset, ".snapshot")
    for position in range(disk.size(path)):
        flip(disk, path, position)
        finding = the_finding(disk)
        assert (finding.grade, finding.path) == (Grade.DERIVED, path)
        flip(disk, path, position)


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_an_index_that_is_cut_is_found_where_it_matters(suffix: str) -> None:
    """A8: one that has whole entries and too few of them only costs time, unless they tell the greatest timestamp."""
    path = path_of(40, suffix)
    entry_size = 8 if suffix == ".index" else 12
    for size in range(a_disk().size(path)):
        disk = a_disk()
        disk.cut(path, size)
        findings = surveyed(disk).findings
        if suffix == ".index" and size % entry_size == 0:
            assert findings == []
        else:
            assert [(finding.grade, finding.path) for finding in findings] == [(Grade.DERIVED, path)]


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_a_missing_index_is_found_and_those_of_a_log_that_was_not_closed_are_not_looked_at(suffix: str) -> None:
    for base_offset in SEGMENTS:
        for was_closed in (True, False):
            disk = a_disk()
            disk.remove(path_of(base_offset, suffix))
            findings = surveyed(disk, was_closed=was_closed).findings
            if base_offset == SEGMENTS[-1] and not was_closed:
                assert findings == []
            else:
                assert [str(finding) for finding in findings] == [f"{path_of(base_offset, suffix)} at 0: missing"]


@pytest.mark.parametrize("size", [1, HEADER_SIZE - 1, HEADER_SIZE, 150])
def test_a_torn_batch_above_the_mark_is_a_tail_and_no_damage(size: int) -> None:
    """House rule 1.6."""
    disk = a_disk(closed=False)
    path = path_of(75)
    whole = disk.size(path)
    file = disk.open(path)
    file.append([bytes(disk.tree()[path][:size])])
    file.close()
    finding = the_finding(disk, was_closed=False)
    assert finding.grade is Grade.TAIL
    assert (finding.begin, finding.end, finding.first_offset, finding.next_offset) == (whole, whole + size, 100, None)


def test_epochs_that_begin_behind_the_log_are_in_doubt_and_not_its_batches() -> None:
    """As at recovery: they are made again."""
    disk = a_disk()
    disk.remove(f"{LOG}/leader-epoch-checkpoint")
    disk.open(f"{LOG}/leader-epoch-checkpoint", create=True).append([b"0\n1\n0 5\n"])
    finding = the_finding(disk)
    assert (finding.grade, finding.path) == (Grade.DERIVED, f"{LOG}/leader-epoch-checkpoint")


def test_so_are_they_when_no_mark_knows_them() -> None:
    disk = a_disk()
    disk.remove(f"{LOG}/durable-mark")
    disk.remove(f"{LOG}/leader-epoch-checkpoint")
    disk.open(f"{LOG}/leader-epoch-checkpoint", create=True).append([b"0\n1\n0 5\n"])
    assert f"{LOG}/leader-epoch-checkpoint" in {one.path for one in surveyed(disk).findings}


def test_a_sealed_segment_need_not_have_a_digest() -> None:
    disk = a_disk()
    disk.remove(path_of(40, ".digest"))
    survey = surveyed(disk)
    assert survey.findings == []
    assert [segment.has_digest for segment in survey.segments] == [True, False, False]


def test_an_empty_segment_that_another_one_reaches_over_is_none_of_the_log() -> None:
    """The next start removes it: it could not be made, nor unmade."""
    disk = a_disk()
    disk.open(path_of(45), create=True).close()
    survey = surveyed(disk)
    assert survey.findings == []
    assert [segment.base_offset for segment in survey.segments] == list(SEGMENTS)


def test_a_tail_begins_where_recovery_would_cut_though_the_next_segment_begins_before() -> None:
    """A batch above the mark that reaches into the next segment is sound by itself; what follows does not fit it."""
    disk, path = a_disk(closed=False), path_of(40)
    begins = positions(disk, path)
    batch = disk.tree()[path][begins[-2] :]
    delta = read_header(batch).last_offset_delta + 3
    disk.corrupt(path, begins[-2], bytes(with_header(batch, last_offset_delta=delta)))
    disk.remove(f"{LOG}/durable-mark")
    disk.open(f"{LOG}/durable-mark", create=True).append([bytes(SLOT_DISTANCE), encode_slot(Slot(1, 50))])
    tails = [one.path for one in surveyed(disk, was_closed=False).findings if one.grade is Grade.TAIL]
    assert tails == [path_of(75)]


def test_without_a_mark_everything_counts_as_durable() -> None:
    """House rule 1.6."""
    disk = a_disk()
    for at in (0, 4096):
        disk.corrupt(f"{LOG}/durable-mark", at, bytes(80))
    finding = the_finding(disk)
    assert (finding.grade, finding.path) == (Grade.DERIVED, f"{LOG}/durable-mark")
    disk.cut(path_of(75), disk.size(path_of(75)) - 1)
    assert [finding.grade for finding in surveyed(disk).findings] == [Grade.DERIVED, Grade.DAMAGE]


@pytest.mark.parametrize("at", [0, 4096])
def test_every_bit_of_a_mark_that_was_closed_counts(at: int) -> None:
    """A8. Of one that was not, a half may be torn, and means nothing."""
    disk = a_disk()
    path = f"{LOG}/durable-mark"
    for position in range(at, at + SLOT_SIZE):
        flip(disk, path, position)
        finding = the_finding(disk)
        assert (finding.grade, finding.path, finding.begin, finding.end) == (Grade.DERIVED, path, at, at + SLOT_SIZE)
        assert surveyed(disk, was_closed=False).findings == []
        flip(disk, path, position)


@pytest.mark.parametrize("size", [0, 1, SLOT_SIZE, 4096, 4096 + SLOT_SIZE - 1])
def test_a_mark_that_was_cut_is_found(size: int) -> None:
    """A8: what is gone may be the newer slot."""
    disk = a_disk()
    disk.cut(f"{LOG}/durable-mark", size)
    finding = the_finding(disk)
    assert (finding.grade, finding.path) == (Grade.DERIVED, f"{LOG}/durable-mark")


def test_a_log_that_ends_below_its_mark_has_lost_records() -> None:
    disk = a_disk(closed=False)
    begins = positions(disk, path_of(75))
    disk.cut(path_of(75), begins[3])
    finding = the_finding(disk, was_closed=False)
    assert str(finding) == (
        f"{path_of(75)} at {begins[3]}, offsets 90 to 99: the log ends at 90, below the durable mark 100"
    )
    disk.cut(path_of(75), begins[3] - 1)
    finding = the_finding(disk, was_closed=False)
    assert (finding.begin, finding.end) == (begins[2], begins[3] - 1)
    assert (finding.first_offset, finding.next_offset) == (85, 100), "once, not twice"


@pytest.mark.parametrize("closed", [True, False])
def test_without_a_mark_a_last_segment_that_is_gone_is_told_by_what_is_left_of_it(*, closed: bool) -> None:
    disk = a_disk(closed=closed)
    disk.remove(path_of(SEGMENTS[-1]))
    disk.remove(f"{LOG}/durable-mark")
    [damage] = surveyed(disk, was_closed=closed).graded(Grade.DAMAGE)
    last = max(path for path in disk.tree() if path.startswith(f"{LOG}/0"))
    assert (damage.path, damage.begin, damage.end, damage.first_offset) == (last, 0, 0, SEGMENTS[-1])
    assert damage.reason == f"the log went on, and ends at {SEGMENTS[-1]}: what should follow is missing"


def test_a_segment_that_is_missing_is_told_by_its_offsets() -> None:
    disk = a_disk()
    for suffix in (".log", ".index", ".timeindex", ".digest"):
        disk.remove(path_of(40, suffix))
    finding = the_finding(disk)
    end = disk.size(path_of(0))
    missing = "the next segment begins at 75, what was before it is missing"
    assert str(finding) == f"{path_of(0)} at {end}, offsets 40 to 74: {missing}"
    for suffix in (".log", ".index", ".timeindex"):
        for base_offset in (0, 75):
            disk.remove(path_of(base_offset, suffix))
    assert str(the_finding(disk)) == f"{LOG} at 0: no segment is left; the durable mark is 100"


def test_a_segment_of_which_nothing_is_left_is_named_and_its_indexes_stay() -> None:
    """They are all that tells of it: built anew they would say that it was ever empty."""
    disk = a_disk()
    disk.cut(path_of(40), 0)
    damaged = surveyed(disk).graded(Grade.DAMAGE)
    missing = "the next segment begins at 75, what was before it is missing"
    assert [str(finding) for finding in damaged] == [f"{path_of(40)} at 0, offsets 40 to 74: {missing}"]


def test_the_file_of_another_log_is_damage_of_the_records_that_should_be_there() -> None:
    """Whatever offsets it holds: where the next segment begins is known."""
    disk = a_disk()
    disk.remove(path_of(40))
    disk.open(path_of(40), create=True).append([disk.tree()[path_of(75)]])
    [finding] = surveyed(disk).graded(Grade.DAMAGE)
    assert (finding.path, finding.begin, finding.end) == (path_of(40), 0, disk.size(path_of(40)))
    assert (finding.first_offset, finding.next_offset) == (40, 75)


def test_bytes_behind_a_sealed_segments_last_batch_are_damage_of_no_record() -> None:
    disk = a_disk()
    disk.open(path_of(40)).append([b"junk"])
    assert the_finding(disk).reason.endswith("; no record is missing")
    assert the_finding(disk).first_offset is None


def test_a_hole_over_several_batches_is_one_finding() -> None:
    disk, path = a_disk(), path_of(0)
    begins = positions(disk, path)
    disk.corrupt(path, begins[2] + 30, bytes(begins[5] - begins[2]))
    finding = the_finding(disk)
    assert (finding.begin, finding.end) == (begins[2], begins[6])
    assert (finding.first_offset, finding.next_offset) == (10, 30)


def test_the_first_segment_is_missed_too() -> None:
    """Nobody deletes the beginning of a log without noting where it begins then."""
    disk = a_disk()
    for suffix in (".log", ".index", ".timeindex", ".digest"):
        disk.remove(path_of(0, suffix))
    assert str(the_finding(disk)) == f"{path_of(0)} at 0, offsets 0 to 39: missing, says the first leader epoch"
    disk.remove(f"{LOG}/leader-epoch-checkpoint")
    assert [str(finding) for finding in surveyed(disk).graded(Grade.DAMAGE)] == [
        f"{path_of(40)} at 0, offsets 0 to 39: nobody can tell what was before it"
    ]


def test_epochs_that_tell_less_than_the_mark_are_doubted() -> None:
    """L-15."""
    disk = a_disk()
    DurableMark.read(disk, LOG).write(100, epochs=KnownEpochs(3, 0))
    finding = the_finding(disk)
    assert (finding.grade, finding.path) == (Grade.DERIVED, f"{LOG}/leader-epoch-checkpoint")


@pytest.mark.parametrize("closed", [True, False])
def test_half_a_mark_makes_a_tail_of_nothing_that_was_closed(*, closed: bool) -> None:
    """House rule 1.6: what the older half leaves out was acknowledged all the same."""
    disk = a_disk(closed=closed)
    for at in (0, SLOT_DISTANCE):
        slot = decode_slot(disk.tree()[f"{LOG}/durable-mark"][at : at + SLOT_SIZE])
        if slot is not None and slot.offset == 100:
            disk.corrupt(f"{LOG}/durable-mark", at, b"rot")
    assert DurableMark.read(disk, LOG).offset == 0
    disk.corrupt(path_of(75), 70, b"rot")
    grades = {one.grade for one in surveyed(disk, was_closed=closed).findings if one.path == path_of(75)}
    assert grades == {Grade.DAMAGE if closed else Grade.TAIL}


@pytest.mark.parametrize("text", [b"0\n1\n1 0\n", b"0\n2\n0 0\n1 40\n"])
def test_epochs_that_are_not_those_that_the_mark_knows_are_doubted_and_nothing_else_is(text: bytes) -> None:
    """A8: no batch is held against them."""
    disk = a_disk()
    disk.open(f"{LOG}/leader-epoch-checkpoint").truncate(0)
    disk.open(f"{LOG}/leader-epoch-checkpoint").append([text])
    finding = the_finding(disk)
    assert (finding.grade, finding.path) == (Grade.DERIVED, f"{LOG}/leader-epoch-checkpoint")


@pytest.mark.parametrize("field", ["base_offset", "leader_epoch"])
def test_what_the_checksum_leaves_out_is_held_against_the_neighbours(field: str) -> None:
    disk, path = a_disk(), path_of(40)
    begins = positions(disk, path)
    batch = disk.tree()[path][begins[1] : begins[2]]
    value = read_header(batch)._asdict()[field]
    disk.corrupt(path, begins[1], bytes(with_header(batch, **{field: value + 1})))
    finding = the_finding(disk)
    assert (finding.begin, finding.end, finding.first_offset, finding.next_offset) == (begins[1], begins[2], 45, 50)
    assert finding.reason.endswith("should be")


def test_a_log_whose_epochs_nobody_knows_is_read_all_the_same() -> None:
    disk = a_disk()
    disk.remove(f"{LOG}/leader-epoch-checkpoint")
    assert str(the_finding(disk)) == f"{LOG}/leader-epoch-checkpoint at 0: missing"


def test_a_log_whose_topic_nobody_knows_is_read_all_the_same() -> None:
    disk = a_disk()
    disk.corrupt(f"{LOG}/partition.metadata", 0, b"V")
    assert str(the_finding(disk)) == f"{LOG}/partition.metadata from 0 to 43: not a partition.metadata of version 0"


def test_a_digest_of_other_bytes_is_doubted_rather_than_sound_batches() -> None:
    disk = a_disk()
    other = disk.tree()[path_of(0, ".digest")]
    disk.corrupt(path_of(40, ".digest"), 0, other)
    assert the_finding(disk).reason == "it is the digest of another segment"
    disk = a_disk()
    flip(disk, path_of(40), 3)
    disk.corrupt(path_of(40), 3, b"\0")
    assert surveyed(disk).findings == []


def test_records_under_a_sound_checksum_are_looked_at_when_that_is_asked() -> None:
    disk, path = a_disk(), path_of(75)
    begins = positions(disk, path)
    lying = with_header(disk.tree()[path][begins[4] :], record_count=RECORDS + 1)
    lying[17:21] = crc_of(lying, 0, len(lying)).to_bytes(4, "big")
    disk.corrupt(path, begins[4], bytes(lying))
    assert surveyed(disk).findings == []
    [finding] = surveyed(disk, decode=True).findings
    assert (finding.grade, finding.begin, finding.first_offset) == (Grade.DAMAGE, begins[4], 95)


@pytest.mark.parametrize("closed", [True, False])
def test_bytes_that_the_disk_does_not_give_are_damage_of_their_batches_and_the_rest_is_read(closed: bool) -> None:
    """A6: also above the mark, for nobody can say that those are a torn tail."""
    disk = a_disk(closed=closed)
    begins = positions(disk, path_of(40))
    disk.spoil(path_of(40), begins[2] + 5, begins[2] + 6)
    finding = the_finding(disk, was_closed=closed)
    assert str(finding) == (
        f"{path_of(40)} from 0 to {begins[-1]}, offsets 40 to 74: "
        f"bytes 0 to {begins[-1]} cannot be read: Input/output error"
    )
    assert [segment.batches for segment in surveyed(disk).segments] == [8, 0, 5]
    append_torn(disk)
    disk.spoil(path_of(40), 0, 0)
    disk.spoil(path_of(75), disk.size(path_of(75)) - 1, disk.size(path_of(75)))
    assert the_finding(disk, was_closed=False).grade is Grade.DAMAGE


@pytest.mark.parametrize(
    ("name", "grade"),
    [
        (f"{40:020d}.log", Grade.DAMAGE),
        (f"{40:020d}.index", Grade.DERIVED),
        (f"{40:020d}.timeindex", Grade.DERIVED),
        (f"{40:020d}.digest", Grade.DERIVED),
        (f"{100:020d}.snapshot", Grade.DERIVED),
        ("durable-mark", Grade.DERIVED),
        ("leader-epoch-checkpoint", Grade.DERIVED),
        ("partition.metadata", Grade.DERIVED),
    ],
)
def test_a_file_that_cannot_be_read_is_a_finding_and_every_other_is_looked_at(name: str, grade: Grade) -> None:
    """A6: whether its bytes are not to be had or it cannot even be opened, as a directory in its place cannot."""
    for is_directory in (True, False):
        disk = a_disk()
        if is_directory:
            disk.remove(f"{LOG}/{name}")
            disk.make_directory(f"{LOG}/{name}")
        else:
            disk.spoil(f"{LOG}/{name}", 0, 1 << 20)
        flip(disk, path_of(75), 20)
        findings = surveyed(disk).findings
        assert (grade, f"{LOG}/{name}") in [(finding.grade, finding.path) for finding in findings]
        assert (Grade.DAMAGE, path_of(75)) in [(finding.grade, finding.path) for finding in findings]
        assert len(findings) == 2
        assert surveyed(disk).segments[-1].batches == 4


def test_one_segment_alone_is_looked_through_without_the_rest() -> None:
    disk = a_disk()
    disk.remove(path_of(0, ".index"))
    assert survey_log(disk, LOG, was_closed=True, only=40).findings == []
    survey = survey_log(disk, LOG, was_closed=True, only=75)
    assert [(segment.base_offset, segment.next_offset) for segment in survey.segments] == [(75, 100)]


def test_what_the_broker_has_noted_is_told() -> None:
    disk = a_disk()
    assert not surveyed(disk).is_noted
    note_damage(disk, LOG, CorruptLog(path_of(0), 5, "rot"), durable=0)
    assert surveyed(disk).is_noted


def test_a_log_that_vanishes_meanwhile_is_no_damage() -> None:
    """A broker may delete a topic while its directory is looked through."""
    disk = a_disk()
    disk.remove_directory(LOG)
    assert surveyed(disk).findings == []


class LivingDisk(SimulatedDisk):
    """A broker removes something just before a file is looked at."""

    looked_at = removed = ""

    def open(self, path: str, *, create: bool = False) -> File:
        if path == self.looked_at:
            (self.remove_directory if self.removed == LOG else self.remove)(self.removed)
        return super().open(path, create=create)


@pytest.mark.parametrize(
    ("looked_at", "removed"),
    [(path_of(75, ".snapshot"), path_of(75, ".snapshot")), (path_of(40), LOG), (path_of(75, ".snapshot"), LOG)],
)
def test_what_a_broker_removes_meanwhile_is_no_damage(looked_at: str, removed: str) -> None:
    disk = LivingDisk()
    make_directory(disk, [LOG])
    disk.looked_at, disk.removed = looked_at, removed
    assert survey_log(disk, LOG, was_closed=False).findings == []


def test_what_the_note_knows_to_have_been_durable_is_no_tail() -> None:
    """House rule 1.6: the mark need not have come so far when the damage was found."""
    disk = a_disk(closed=False)
    append_torn(disk)
    assert surveyed(disk, was_closed=False).findings[-1].grade is Grade.TAIL
    note_damage(disk, LOG, CorruptLog(path_of(75), 5, "rot"), durable=101)
    survey = surveyed(disk, was_closed=False)
    assert ([finding.grade for finding in survey.findings], survey.durable_offset) == ([Grade.DAMAGE], 101)
    note_damage(disk, LOG, CorruptLog(path_of(75), 5, "rot"), durable=100)
    assert the_finding(disk, was_closed=False).grade is Grade.TAIL
    disk.cut(f"{LOG}/quarantined", 11)
    assert the_finding(disk, was_closed=False).grade is Grade.DAMAGE


def test_a_log_that_ends_below_its_note_has_lost_records() -> None:
    disk = a_disk(closed=False)
    note_damage(disk, LOG, CorruptLog(path_of(75), 5, "rot"), durable=102)
    finding = the_finding(disk, was_closed=False)
    assert (finding.grade, finding.first_offset, finding.next_offset) == (Grade.DAMAGE, 100, 102)


@pytest.mark.parametrize("at", [0, SLOT_DISTANCE])
@pytest.mark.parametrize("closed", [True, False])
def test_a_slot_of_the_mark_that_the_disk_does_not_give_is_found(at: int, *, closed: bool) -> None:
    """A6, A8: the other one counts, and nothing is a tail, for this one may be the newer."""
    disk = a_disk(closed=closed)
    disk.spoil(f"{LOG}/durable-mark", at, at + 1)
    survey = surveyed(disk, was_closed=closed)
    mark = (Grade.DERIVED, f"{LOG}/durable-mark", at, at + SLOT_SIZE)
    assert mark in [(one.grade, one.path, one.begin, one.end) for one in survey.findings]
    assert survey.mark_is_torn
    assert survey.durable_offset == DurableMark.read(disk, LOG).offset
    append_torn(disk)
    assert not surveyed(disk, was_closed=closed).graded(Grade.TAIL)
