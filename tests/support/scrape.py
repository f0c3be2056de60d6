"""A broker that has seen everything there is to count, and what a scrape of it says."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tidelog.broker.exposition import render
from tidelog.broker.metrics import BrokerFacts, DamagedPlace, Metrics
from tidelog.broker.turns import at_once
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_lag import GroupLag, PartitionLag, TopicLag

OPENMETRICS_ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
"""What Prometheus sends."""


@dataclass(kw_only=True)
class APartition:
    """A partition as monitoring sees it."""

    index: int = 0
    log_start_offset: int = 0
    log_end_offset: int = 0
    size_bytes: int = 0
    segment_count: int = 1
    leader_epoch: int = 0
    is_offline: bool = False
    is_quarantined: bool = False
    records_in: int = 0
    batches_in: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass
class ATopic:
    """A topic as monitoring sees it."""

    name: str
    partitions: Sequence[APartition] = field(default_factory=lambda: [APartition()])


FACTS = BrokerFacts(
    version="1.2.3",
    node_id=7,
    address="127.0.0.1:9092",
    started_ms=1_750_000_000_500,
    data_dir='/a "b" \\c',
    disk_free_bytes=1 << 40,
    disk_total_bytes=1 << 41,
)


def busy_metrics() -> Metrics:
    """Counts of everything there is to count."""
    metrics = Metrics()
    metrics.connections_opened = 3
    metrics.connections_active["127.0.0.1:9092"] = 2
    metrics.connections_closed["idle"] = 1
    metrics.connections_rejected["max.connections"] = 1
    metrics.waiting_for_memory = {"request": 2, "response": 1}
    metrics.request_memory_bytes = 1000
    metrics.response_memory_bytes = 2000
    metrics.crc_errors = 4
    metrics.segments_rolled = 5
    metrics.recovery_truncated_bytes = 6
    metrics.recovery_seconds = 0.25
    metrics.inflight_requests = 8
    metrics.fetch_sessions = 3
    metrics.fetch_session_partitions = 30
    metrics.fetch_sessions_evicted = 11
    metrics.event_loop_lag.observe(0.0001)
    metrics.fsync.observe(0.002)
    metrics.topic_error("orders", "fsync")
    metrics.damaged(DamagedPlace(topic="orders", partition=1, file="orders-1/7.log", begin=61, end=122))
    metrics.damaged(DamagedPlace(topic="orders", partition=1, file="orders-1/8.log", begin=0, end=None))
    metrics.scrubbed_bytes = 12
    metrics.scrub_damage = 2
    metrics.scrub_oldest_ms = 1_750_000_000_250
    metrics.rebalance_ended(200)
    metrics.offsets_committed("billing")
    metrics.offsets_committed("billing")
    metrics.rebalanced("billing", "member joined")
    produce = metrics.api(ApiKey.PRODUCE)
    produce.duration.observe(0.003)
    produce.requests[int(ErrorCode.NONE)] += 1
    produce.requests[int(ErrorCode.INVALID_REQUIRED_ACKS)] = 2
    produce.request_bytes += 900
    produce.response_bytes += 90
    return metrics


def busy_topics() -> list[ATopic]:
    """Two topics, one of two partitions."""
    first = APartition(
        log_start_offset=10,
        log_end_offset=30,
        size_bytes=4000,
        segment_count=2,
        leader_epoch=1,
        is_offline=True,
        records_in=20,
        batches_in=4,
        bytes_in=3000,
        bytes_out=500,
    )
    return [
        ATopic("orders", [first, APartition(index=1, size_bytes=1, records_in=1)]),
        ATopic("a.b_c-d"),
    ]


def busy_groups() -> list[GroupLag]:
    """A group that is behind in one of three partitions and has never committed in another, and one that is empty."""
    orders = (
        PartitionLag(
            partition_index=0, committed_offset=10, commit_ms=5, log_start_offset=0, end_offset=30, lag=20, lag_ms=1500
        ),
        PartitionLag(
            partition_index=1, committed_offset=7, commit_ms=6, log_start_offset=0, end_offset=7, lag=0, lag_ms=0
        ),
        PartitionLag(partition_index=2, log_start_offset=0, end_offset=99),
    )
    gone = (PartitionLag(partition_index=0, committed_offset=5, commit_ms=4),)
    return [
        GroupLag(
            group_id="billing",
            group_state="Stable",
            group_type="consumer",
            member_count=2,
            last_commit_ms=1_750_000_000_500,
            topics=(TopicLag(name="gone", partitions=gone), TopicLag(name="orders", topic_id=ID, partitions=orders)),
        ),
        GroupLag(group_id='a "b"\\c\nd', group_state="Empty", group_type="classic"),
    ]


ID = UUID(int=1)


def scrape(
    metrics: Metrics | None = None,
    topics: Sequence[ATopic] = (),
    *,
    groups: Sequence[GroupLag] = (),
    accept: str = "",
) -> dict[str, Metric]:
    """The families of a scrape, by name, as Prometheus would read them."""
    body, _ = at_once(render(metrics or Metrics(), topics, FACTS, groups=groups, accept=accept))
    parse = parse_openmetrics if "openmetrics" in accept else parse_text
    return {family.name: family for family in parse(body.decode())}


def busy_scrape(*, accept: str = "") -> dict[str, Metric]:
    """The families of a scrape in which every declared one has samples."""
    return scrape(busy_metrics(), busy_topics(), groups=busy_groups(), accept=accept)
