"""The oracle of the power cuts: would it notice?"""

from collections.abc import Callable

import pytest

from support.power.promises import PARTITIONS, Place, Promises, Records, Told, broken, value_of

PRODUCER = "zstd"


def promises_of(*, acks: int = -1) -> tuple[Promises, Records, list[int]]:
    """Nine records of an idempotent producer, all acknowledged, read and committed; what is there; the commits."""
    told = Told(PRODUCER, idempotent=True, acks=acks)
    records: Records = {}
    for number in range(1, 10):
        value = told.value()
        place = (told.partition, (number - 1) // PARTITIONS)
        told.acknowledged[value] = place
        records[place] = value
    return Promises(tolds=[told], seen=dict(records), commits=[3] * PARTITIONS), records, [3] * PARTITIONS


def kinds(promises: Promises, records: Records, commits: list[int], tried: int = 3) -> set[str]:
    """What is found to be broken, without the details."""
    return {what.partition(":")[0] for what in broken(promises, records, commits, [tried] * PARTITIONS)}


def test_kept_promises_are_kept() -> None:
    """A3."""
    assert kinds(*promises_of()) == set()


def test_a_record_that_nobody_was_told_of_may_be_there_or_not() -> None:
    """A3: it was under way when the power failed."""
    promises, records, commits = promises_of()
    records[1, 3] = value_of(PRODUCER, 10)
    assert kinds(promises, records, commits) == set()


def without_the_last(records: Records) -> None:
    del records[0, 2]


def without_one_between(records: Records) -> None:
    del records[0, 1]


def with_other_bytes(records: Records) -> None:
    records[0, 2] = records[0, 2][:-1] + b"!"


def with_two_swapped(records: Records) -> None:
    records[0, 1], records[0, 2] = records[0, 2], records[0, 1]


def with_one_twice(records: Records) -> None:
    records[0, 3] = records[0, 2]


def with_a_strangers(records: Records) -> None:
    records[0, 3] = value_of("nobody", 3)


def with_one_of_another_partition(records: Records) -> None:
    records[0, 3] = value_of(PRODUCER, 10)


def with_one_skipped(records: Records) -> None:
    records[0, 3] = value_of(PRODUCER, 15)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (without_the_last, {"lost", "taken back"}),
        (without_one_between, {"lost", "taken back", "gap"}),
        (with_other_bytes, {"lost", "taken back", "invented"}),
        (with_two_swapped, {"lost", "taken back", "disorder"}),
        (with_one_twice, {"duplicate"}),
        (with_a_strangers, {"invented"}),
        (with_one_of_another_partition, {"invented"}),
        (with_one_skipped, {"lost"}),
    ],
)
def test_a_broken_promise_is_noticed(damage: Callable[[Records], None], found: set[str]) -> None:
    """A3."""
    promises, records, commits = promises_of()
    damage(records)
    assert found <= kinds(promises, records, commits)


def test_what_was_not_to_be_on_the_disk_may_be_lost_until_somebody_has_read_it() -> None:
    """A3: acks=1."""
    promises, records, commits = promises_of(acks=1)
    place: Place = (0, 2)
    del records[place]
    assert kinds(promises, records, commits) == {"taken back"}
    del promises.seen[place]
    assert kinds(promises, records, commits) == set()


@pytest.mark.parametrize(("commit", "found"), [(2, {"forgotten"}), (3, set()), (4, set()), (5, {"forgotten"})])
def test_a_commit_is_where_it_was_told_to_be_or_where_a_later_one_was_tried(commit: int, found: set[str]) -> None:
    """A3: an answer that the power cut swallowed may have been meant."""
    promises, records, _ = promises_of()
    assert kinds(promises, records, [3, commit, 3], tried=4) == found
