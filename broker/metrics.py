"""What the broker counts: plain integers in slots, so that counting costs the hot path nothing worth naming.

Nothing here knows Prometheus; `exposition.py` reads these objects at a scrape.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..protocol.apis import APIS, ApiKey

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.5, 10.0)
"""Upper bounds in seconds: from what a page-cache write takes to what a client's timeout is made for."""

REBALANCE_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds in seconds: from what members on one machine take to the longest that Kafka's clients wait."""

LAG_PROBE_INTERVAL_S = 0.1

DAMAGED_PLACES_MAX = 100
"""So many have series of their own; who has more knows enough."""


class Histogram:
    """Durations in seconds, counted by bucket."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Per bucket, not cumulated; the last one is above every bound."""
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPlace:
    """Where in which file of a topic's logs bytes are not what was written."""

    topic: str
    partition: int
    file: str
    begin: int
    end: int | None
    """None if nobody can tell."""


class ApiMetrics:
    """What is counted of one API."""

    __slots__ = ("duration", "request_bytes", "requests", "response_bytes")

    def __init__(self) -> None:
        self.requests: dict[int, int] = {0: 0}
        """Answered requests by the number of the response's top error code."""
        self.duration = Histogram()
        self.request_bytes = 0
        self.response_bytes = 0


class GroupMetrics:
    """What is counted of one group."""

    __slots__ = ("commits", "rebalances")

    def __init__(self) -> None:
        self.commits = 0
        """Requests that committed offsets."""
        self.rebalances: dict[str, int] = {}
        """By reason."""


class Metrics:
    """What one broker counts."""

    __slots__ = (
        "_apis",
        "accept_pauses",
        "connections_active",
        "connections_closed",
        "connections_opened",
        "connections_rejected",
        "crc_errors",
        "damage",
        "disk_full_refusals",
        "disk_min_free_bytes",
        "disk_reserve_bytes",
        "disk_writable",
        "event_loop_lag",
        "fetch_session_partitions",
        "fetch_sessions",
        "fetch_sessions_evicted",
        "fsync",
        "groups",
        "inflight_requests",
        "rebalance",
        "recovery_seconds",
        "recovery_truncated_bytes",
        "request_memory_bytes",
        "response_memory_bytes",
        "scrub_damage",
        "scrub_oldest_ms",
        "scrubbed_bytes",
        "segments_rolled",
        "topic_errors",
        "waiting_for_memory",
    )

    def __init__(self) -> None:
        self._apis = {key: ApiMetrics() for key in APIS}
        self.accept_pauses = 0
        """Times that no connection could be accepted, for lack of descriptors."""
        self.connections_active: dict[str, int] = {}
        """Open connections by listener."""
        self.connections_closed: dict[str, int] = {}
        """Ended connections by reason."""
        self.connections_opened = 0
        self.connections_rejected: dict[str, int] = {}
        """Connections closed as they came, by the limit that was reached; also among the opened and the closed."""
        self.crc_errors = 0
        self.damage: dict[DamagedPlace, None] = {}
        """What was found damaged, in the order in which it was found."""
        self.disk_full_refusals = 0
        """Batches, topics and growths refused so that the disk does not become full."""
        self.disk_min_free_bytes = 0
        self.disk_reserve_bytes = 0
        self.disk_writable = True
        """Whether records are accepted, as far as the disk's space goes."""
        self.event_loop_lag = Histogram()
        self.fetch_session_partitions = 0
        self.fetch_sessions = 0
        self.fetch_sessions_evicted = 0
        self.fsync = Histogram()
        self.groups: dict[str, GroupMetrics] = {}
        """By id."""
        self.inflight_requests = 0
        self.rebalance = Histogram(REBALANCE_BUCKETS)
        self.recovery_seconds = 0.0
        self.recovery_truncated_bytes = 0
        self.request_memory_bytes = 0
        self.response_memory_bytes = 0
        self.scrub_damage = 0
        """Segments in which the scrubber found damage."""
        self.scrub_oldest_ms = 0
        """When the segment was last read that was not read for the longest, in milliseconds since 1970."""
        self.scrubbed_bytes = 0
        self.segments_rolled = 0
        self.topic_errors: dict[tuple[str, str], int] = {}
        """Failures by topic and kind."""
        self.waiting_for_memory: dict[str, int] = {}
        """Connections that wait, by what for."""

    def api(self, key: ApiKey) -> ApiMetrics:
        """The counts of one API."""
        return self._apis[key]

    def offsets_committed(self, group_id: str) -> None:
        """Count one request that committed offsets."""
        self._group(group_id).commits += 1

    def rebalanced(self, group_id: str, reason: str) -> None:
        """Count one rebalance, as it begins."""
        rebalances = self._group(group_id).rebalances
        rebalances[reason] = rebalances.get(reason, 0) + 1

    def rebalance_ended(self, duration_ms: int) -> None:
        """Count one rebalance that took so long."""
        self.rebalance.observe(duration_ms / 1000)

    def _group(self, group_id: str) -> GroupMetrics:
        counts = self.groups.get(group_id)
        if counts is None:
            counts = self.groups[group_id] = GroupMetrics()
        return counts

    def forget_group(self, group_id: str) -> None:
        """The group is gone: its series end."""
        self.groups.pop(group_id, None)

    def topic_error(self, topic: str, kind: str) -> None:
        """Count one failure of a topic's log."""
        self.topic_errors[topic, kind] = self.topic_errors.get((topic, kind), 0) + 1

    def damaged(self, place: DamagedPlace) -> None:
        """Bytes of a topic's log were found damaged."""
        if len(self.damage) < DAMAGED_PLACES_MAX:
            self.damage[place] = None

    def forget_damage(self, place: DamagedPlace) -> None:
        """They could not be read for a while, and are sound."""
        self.damage.pop(place, None)

    def forget_topic(self, topic: str) -> None:
        """The topic was deleted: its series end."""
        for place in [place for place in self.damage if place.topic == topic]:
            del self.damage[place]
        for labels in [labels for labels in self.topic_errors if labels[0] == topic]:
            del self.topic_errors[labels]


class LagProbe:
    """Measures how late the event loop is: sleeps, and looks how much longer it took."""

    def __init__(self, lag: Histogram, *, interval_s: float = LAG_PROBE_INTERVAL_S) -> None:
        self._lag = lag
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval_s
        self._timer = loop.call_at(due, self._fired, loop, due)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fired(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self._lag.observe(max(0.0, now - due))
        due = now + self._interval_s
        self._timer = loop.call_at(due, self._fired, loop, due)


class PartitionView(Protocol):
    """A partition, as monitoring sees it."""

    @property
    def index(self) -> int:
        """Its number in the topic."""

    @property
    def log_start_offset(self) -> int:
        """The first offset that can be read."""

    @property
    def log_end_offset(self) -> int:
        """The high watermark: where consumers see the end."""

    @property
    def size_bytes(self) -> int:
        """Bytes in its segments."""

    @property
    def segment_count(self) -> int:
        """Its segments."""

    @property
    def leader_epoch(self) -> int:
        """The epoch of its leadership."""

    @property
    def is_offline(self) -> bool:
        """It takes no records, because its disk failed or its log is damaged."""

    @property
    def is_quarantined(self) -> bool:
        """Its log is damaged."""

    @property
    def records_in(self) -> int:
        """Records appended since the start."""

    @property
    def batches_in(self) -> int:
        """Record batches appended since the start."""

    @property
    def bytes_in(self) -> int:
        """Bytes appended since the start."""

    @property
    def bytes_out(self) -> int:
        """Bytes fetched since the start."""


class TopicView(Protocol):
    """A topic, as monitoring sees it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def partitions(self) -> Sequence[PartitionView]:
        """Its partitions."""


TopicsView = Iterable[TopicView]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFacts:
    """What a scrape tells of the broker that nobody counts."""

    version: str
    node_id: int
    address: str
    """Where clients connect: the first listener's, as bound."""
    started_ms: int
    """When the broker was started, in milliseconds since 1970."""
    data_dir: str
    disk_free_bytes: int
    disk_total_bytes: int
