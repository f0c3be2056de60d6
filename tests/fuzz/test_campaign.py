"""`make fuzz`: every decoder and the whole broker get their share, and together all that was asked for."""

from fuzz.campaign import INPUTS_PER_PLAY_MAX, SHARES, jobs_for
from fuzz.targets import TARGETS


def test_the_inputs_are_shared_out_among_all_targets_and_the_broker() -> None:
    jobs = list(jobs_for(50_000_000, 1))
    total = sum(job.inputs for job in jobs)
    assert 50_000_000 - len(TARGETS) <= total <= 50_000_000
    assert sum(job.inputs for job in jobs if job.name == "worlds") == 5_000_000
    assert {job.name for job in jobs} == {*TARGETS, "worlds"}
    assert set(SHARES) <= set(TARGETS)


def test_no_two_processes_play_the_same_worlds() -> None:
    worlds = [job for job in jobs_for(50_000_000, 1) if job.name == "worlds"]
    assert len({job.arguments for job in worlds}) == len(worlds)
    assert all(job.inputs <= INPUTS_PER_PLAY_MAX for job in worlds)
