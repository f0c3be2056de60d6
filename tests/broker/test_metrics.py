"""What the broker counts: histograms, the lag probe, and that something feeds each count."""

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.broker.metrics import BUCKETS, ApiMetrics, Histogram, LagProbe, Metrics
from tidelog.protocol.apis import APIS, ApiKey

BROKER = Path(__file__).resolve().parents[2] / "broker"


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_each_duration_in_the_first_bucket_that_holds_it(durations: list[float]) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.observe(duration)
    for position, bound in enumerate(BUCKETS):
        assert sum(histogram.counts[: position + 1]) == sum(duration <= bound for duration in durations)
    assert sum(histogram.counts) == len(durations)
    assert histogram.sum == pytest.approx(sum(durations))


def test_buckets_rise_from_half_a_millisecond_to_ten_seconds() -> None:
    assert list(BUCKETS) == sorted(set(BUCKETS))
    assert (BUCKETS[0], BUCKETS[-1], len(BUCKETS)) == (0.0005, 10.0, 12)


def test_every_api_has_counts_of_its_own() -> None:
    metrics = Metrics()
    metrics.api(ApiKey.FETCH).request_bytes += 5
    assert metrics.api(ApiKey.FETCH).request_bytes == 5
    assert len({id(metrics.api(key)) for key in APIS}) == len(APIS)
    assert metrics.api(ApiKey.PRODUCE).request_bytes == 0


def test_brokers_share_no_counts() -> None:
    one, other = Metrics(), Metrics()
    one.topic_error("t", "write")
    one.fsync.observe(1)
    assert not other.topic_errors
    assert sum(other.fsync.counts) == 0


def test_a_deleted_topic_is_forgotten() -> None:
    metrics = Metrics()
    metrics.topic_error("gone", "write")
    metrics.topic_error("gone", "fsync")
    metrics.topic_error("kept", "write")
    metrics.forget_topic("gone")
    assert metrics.topic_errors == {("kept", "write"): 1}


def test_a_group_that_is_gone_is_forgotten() -> None:
    metrics = Metrics()
    metrics.offsets_committed("gone")
    metrics.rebalanced("gone", "member joined")
    metrics.offsets_committed("kept")
    metrics.forget_group("gone")
    metrics.forget_group("never was")
    assert set(metrics.groups) == {"kept"}
    assert metrics.groups["kept"].commits == 1
    assert metrics.groups["kept"].rebalances == {}


def test_rebalances_are_counted_by_reason() -> None:
    metrics = Metrics()
    for reason in ("member joined", "member left", "member joined"):
        metrics.rebalanced("billing", reason)
    assert metrics.groups["billing"].rebalances == {"member joined": 2, "member left": 1}


async def test_the_probe_measures_how_late_the_loop_is() -> None:
    measured = asyncio.Event()

    class Lag(Histogram):
        def observe(self, seconds: float) -> None:
            super().observe(seconds)
            measured.set()

    lag = Lag()
    probe = LagProbe(lag, interval_s=0.001)
    probe.start()
    for _ in range(3):
        await measured.wait()
        measured.clear()
    probe.stop()
    assert sum(lag.counts) == 3
    assert lag.sum >= 0


async def test_a_stopped_probe_leaves_no_timer() -> None:
    lag = Histogram()
    probe = LagProbe(lag, interval_s=0.001)
    probe.stop()
    probe.start()
    probe.stop()
    probe.stop()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    assert sum(lag.counts) == 0


NAMES = [name for kind in (Metrics, ApiMetrics) for name in kind.__slots__ if not name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_something_feeds_every_count(name: str) -> None:
    fed = {"topic_errors": "topic_error", "damage": "damaged"}.get(name, name)
    readers = {"metrics.py", "exposition.py"}
    texts = [path.read_text() for path in BROKER.rglob("*.py") if path.name not in readers]
    assert re.search(rf"\.{fed}\b", "\n".join(texts)), f"{name} is shown and never counted"
