"""The judge of groups: every promise is noticed when it is broken, and what is allowed is not complained of."""

from collections.abc import Sequence

from support.group_timeline import GroupHistory, check_groups
from support.history import Outcome

GROUP = "g"


class Story:
    """A history of one group with one partition of ten records, told step by step."""

    def __init__(self, *, is_classic: bool = True) -> None:
        self.history = GroupHistory()
        self.history.group(GROUP, has_common_generation=is_classic)

    def given(self, member: str, generation: int, *partitions: int) -> None:
        self.history.given(GROUP, member, generation, partitions or (0,))

    def delivered(self, member: str, generation: int, first: int, end: int, sums: Sequence[int] | None = None) -> None:
        sums = range(first, end) if sums is None else sums
        self.history.delivered(GROUP, member, generation, partition=0, first=first, sums=tuple(sums))

    def commits(
        self, member: str, generation: int, offset: int, outcome: Outcome = "ok", *, is_known_stale: bool = False
    ) -> None:
        commits = self.history.committing(GROUP, member, generation, {0: offset}, is_known_stale=is_known_stale)
        self.history.committed(commits, outcome)

    def told(self, offset: int) -> None:
        self.history.told(GROUP, "x", {0: offset}, invoked=self.history.now())

    def verdict(self, end: int = 10) -> list[str]:
        return [violation.kind for violation in check_groups(self.history, {0: range(end)})]


def test_one_member_after_the_other_reads_everything() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 4)
    story.delivered("a", 1, 4, 6)
    story.commits("a", 1, 6)
    story.told(6)
    story.given("b", 2)
    story.delivered("b", 2, 6, 10)
    story.commits("b", 2, 10)
    assert story.verdict() == []


def test_a_partition_of_a_generation_has_one_owner() -> None:
    story = Story()
    story.given("a", 1)
    story.given("b", 1)
    assert story.verdict(end=0) == ["two owners"]
    story = Story()
    story.given("a", 1, 0)
    story.given("b", 1, 1)
    story.given("a", 2, 1)
    assert story.verdict(end=0) == []


def test_nobody_begins_where_nobody_has_been() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 2, 10)
    assert story.verdict() == ["skipped", "unread"]


def test_nobody_commits_what_nobody_was_delivered() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 4)
    story.commits("a", 1, 5)
    assert story.verdict(end=4) == ["skipped"]


def test_who_holds_a_partition_goes_on_where_it_was() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 6)
    story.delivered("a", 1, 4, 10)
    assert story.verdict() == ["torn"]
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 6)
    story.given("a", 2)
    story.delivered("a", 2, 4, 10)
    assert story.verdict() == []


def test_a_group_is_told_what_was_committed() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 10)
    story.commits("a", 1, 4)
    story.told(3)
    assert story.verdict() == ["receded"]
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 10)
    story.commits("a", 1, 3, "info")
    story.commits("a", 1, 4)
    story.told(3)
    story.told(4)
    assert story.verdict() == []
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 10)
    story.commits("a", 1, 4, "fail")
    story.told(-1)
    assert story.verdict() == []


def test_what_was_committed_is_not_delivered_to_a_later_generation() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 6)
    story.commits("a", 1, 6)
    story.given("b", 2)
    story.delivered("b", 2, 5, 10)
    assert story.verdict() == ["delivered again"]


def test_what_a_frozen_member_had_fetched_is_its_own() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 4)
    story.commits("a", 1, 4)
    story.given("b", 2)
    story.delivered("b", 2, 4, 8)
    story.commits("b", 2, 8)
    story.delivered("a", 1, 4, 6)
    story.commits("a", 1, 6, "fail")
    story.delivered("b", 2, 8, 10)
    assert story.verdict() == []


def test_a_commit_of_an_older_generation_is_refused_once_a_newer_one_is_known() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 10)
    story.given("b", 2, 1)
    story.commits("a", 1, 10)
    assert story.verdict() == ["stale"]
    modern = Story(is_classic=False)
    modern.given("a", 1)
    modern.delivered("a", 1, 0, 10)
    modern.given("b", 2, 1)
    modern.commits("a", 1, 10)
    assert modern.verdict() == []
    modern.given("b", 3, 0)
    modern.commits("a", 1, 10)
    assert modern.verdict() == ["stale"]


def test_a_commit_that_its_member_knew_to_be_stale_is_refused() -> None:
    for outcome, verdict in (("ok", ["stale"]), ("fail", []), ("info", [])):
        story = Story()
        story.given("a", 1)
        story.delivered("a", 1, 0, 10)
        story.commits("a", 0, 3, outcome, is_known_stale=True)  # type: ignore[arg-type]
        assert story.verdict() == verdict


def test_what_is_delivered_stands_in_the_log() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 10, sums=[0, 1, 2, 3, 4, 99, 6, 7, 8, 9])
    assert story.verdict() == ["altered"]


def test_in_the_end_everything_was_delivered() -> None:
    story = Story()
    story.given("a", 1)
    story.delivered("a", 1, 0, 9)
    assert story.verdict() == ["unread"]
