"""Consumer groups in a simulated world, under crashes, power cuts, a broken network and members that hang [A10].

As `test_broker` is for logs: each seed is a world of its own, TIDELOG_SEED plays one seed, TIDELOG_SEEDS says how many,
TIDELOG_PROOF=1 plays as many as a release needs. `make simulate SEED=7` repeats seed 7 exactly.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from support import environment
from support.group_workload import CLASSIC, MODERN, THIN, GroupPlan, run_groups
from support.loop import Trace
from tidelog.broker.coordinator import consumer_group, runtime
from tidelog.broker.coordinator.assignors import Assignment
from tidelog.broker.coordinator.classic_facts import ClassicFacts
from tidelog.broker.coordinator.consumer_draft import Draft
from tidelog.broker.coordinator.consumer_group import ConsumerGroup
from tidelog.broker.coordinator.decision import Decision, Instant
from tidelog.broker.coordinator.group_coordinator import GroupCoordinator
from tidelog.broker.coordinator.group_records import OffsetCommitted, Record
from tidelog.broker.coordinator.offsets import Offsets
from tidelog.broker.coordinator.reconciliation import reconcile

IS_PROOF = os.environ.get("TIDELOG_PROOF") == "1"
VIOLATIONS_SHOWN = 10
TRACE_LINES_SHOWN = 15
SHORT = GroupPlan(fire_s=15.0)
PLANTED = GroupPlan(fire_s=40.0)
RESTLESS = GroupPlan(fire_s=30.0, faults_every_s=0.4, deaths=False, power_cuts=False)
"""Where the broker lives on, members come and go the more."""
PLANTED_SEEDS = range(1, 4)


def chosen_seeds() -> list[int]:
    """The seeds to play."""
    if one := os.environ.get("TIDELOG_SEED"):
        return [int(one)]
    return list(range(1, int(os.environ.get("TIDELOG_SEEDS", "1000" if IS_PROOF else "6")) + 1))


@pytest.mark.parametrize("seed", chosen_seeds())
def test_groups_keep_their_promises_through_crashes_and_power_cuts(seed: int) -> None:
    trace = Trace()
    again = f"repeat with: make simulate SEED={seed}"
    try:
        played = run_groups(seed, trace=trace)
    except BaseException as error:
        error.add_note(f"{again}\nthe last events:\n{''.join(trace.lines[-TRACE_LINES_SHOWN:])}")
        raise
    shown = "\n".join(str(violation) for violation in played.violations[:VIOLATIONS_SHOWN])
    assert not played.violations, f"{len(played.violations)} broken promises\n{shown}\n{again}"
    assert played.boots > 1
    for group_id in (CLASSIC, MODERN, THIN):
        group = played.history.groups[group_id]
        assert any(commit.outcome == "ok" for commit in group.commits)
        assert len({given.generation for given in group.given}) > 1


def test_the_same_seed_gives_the_same_digest() -> None:
    first, again = run_groups(1, SHORT), run_groups(1, SHORT, debug=True)
    assert (first.digest, first.happened) == (again.digest, again.happened)


# The net is not full of holes: bugs that are planted are caught


def kinds_found(plan: GroupPlan = PLANTED, *, seeds: range = PLANTED_SEEDS) -> Counter[str]:
    """In how many of a few seeds each kind of violation is found; the play may also end before the last look."""
    found: Counter[str] = Counter()
    for seed in seeds:
        try:
            found.update({violation.kind for violation in run_groups(seed, plan).violations} or {"nothing"})
        except* Exception:  # noqa: BLE001 - a broker that stumbles over its own bug, a member that is told nonsense
            found["raised"] += 1
    return found


def test_without_a_planted_bug_nothing_is_found() -> None:
    assert kinds_found() == {"nothing": len(PLANTED_SEEDS)}


def test_commits_that_are_not_synced_are_caught() -> None:
    rare_marks = ("log.flush.offset.checkpoint.interval.ms=60000",)
    found = kinds_found(replace(PLANTED, unsynced=re.compile(r"__consumer_offsets-.*\.log$"), overrides=rare_marks))
    assert found["receded"] + found["delivered again"] >= 2
    assert found["nothing"] == 0


def test_answers_that_leave_before_their_records_are_durable_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    write = runtime.CoordinatorRuntime._write  # noqa: SLF001 - a bug has to be planted somewhere

    def hasty(self: runtime.CoordinatorRuntime, shard: runtime._Shard, records: Iterable[Record]) -> None:
        write(self, shard, records)
        shard.last = None

    monkeypatch.setattr(runtime.CoordinatorRuntime, "_write", hasty)
    monkeypatch.setattr(environment, "SYNC_S_MAX", 0.02)  # too slow for the loop: the pool is to do it
    found = kinds_found(replace(PLANTED, deaths=False, pool_delay_s_max=1.0), seeds=range(1, 9))
    assert found["receded"] + found["delivered again"] >= 2


def test_a_coordinator_that_forgets_a_record_at_its_start_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = GroupCoordinator.loaded

    def forgetful(self: GroupCoordinator, at: Instant) -> Iterator[Decision[Record]]:
        for group_id in self.groups:
            for topic, partitions in self.offsets.of(group_id).items():
                self.offsets.apply(OffsetCommitted(group_id, topic, max(partitions), None))
                break
        return loaded(self, at)

    monkeypatch.setattr(GroupCoordinator, "loaded", forgetful)
    found = kinds_found()
    assert found["receded"] + found["delivered again"] >= 2
    assert found["nothing"] == 0


def test_offsets_that_are_taken_whoever_commits_them_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def anybody(*arguments: object, **options: object) -> None:
        pass

    monkeypatch.setattr(ClassicFacts, "check_commit", anybody)
    monkeypatch.setattr(ConsumerGroup, "check_commit", anybody)
    found = kinds_found()
    assert found["stale"] >= 2


def test_a_partition_that_is_given_away_before_its_owner_has_let_go_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    _plant_into_reconcile(monkeypatch, is_free=lambda topic, partition: True)
    found = kinds_found(RESTLESS)
    assert found["stale"] + found["delivered again"] >= 2


def test_a_partition_that_is_given_to_two_members_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assign = Draft.assign

    def generous(self: Draft, assignors: tuple[str, ...]) -> dict[str, Assignment]:
        targets = assign(self, assignors)
        richest = max(targets.values(), key=lambda target: sum(map(len, target.values())))
        return {member_id: {**richest, **target} for member_id, target in targets.items()}

    monkeypatch.setattr(Draft, "assign", generous)
    _plant_into_reconcile(monkeypatch, is_free=lambda topic, partition: True)
    found = kinds_found(RESTLESS)
    assert found["two owners"] + found["delivered again"] + found["stale"] >= 2


def test_commits_that_are_written_over_by_older_ones_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Offsets.apply

    def stubborn(self: Offsets, record: OffsetCommitted) -> None:
        if record.offset is None or self.get(record.group_id, record.topic, record.partition) is None:
            apply(self, record)

    monkeypatch.setattr(Offsets, "apply", stubborn)
    found = kinds_found()
    assert found["receded"] == len(PLANTED_SEEDS)


def _plant_into_reconcile(monkeypatch: pytest.MonkeyPatch, *, is_free: Callable[[object, int], bool]) -> None:
    def planted(*arguments: object, **options: object) -> object:
        return reconcile(*arguments, **{**options, "is_free": is_free})  # type: ignore[arg-type]

    monkeypatch.setattr(consumer_group, "reconcile", planted)
