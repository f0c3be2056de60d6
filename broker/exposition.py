"""Every Prometheus metric, declared once, and how a scrape is rendered from what the broker counts.

`prometheus_client` renders the families whose size does not depend on topics and groups. Those of topics, partitions
and (in `group_exposition`) groups are written by hand: ten thousand series through its sample objects would stop the
loop for longer than a request may take. This module brings the library with it, so it is to be imported at the first
scrape, not before.

Invariant: a family stands in exactly one of the tables and is rendered from it alone, so that the reference page
and a scrape cannot disagree. Names of the `kafka_` families are those of kafka_exporter, whose dashboards fit.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from ..protocol.apis import APIS
from ..protocol.errors import ErrorCode
from ..protocol.messages.describe_lag import GroupLag
from .families import COUNTER, GAUGE, HISTOGRAM, Family, header
from .group_exposition import rendering
from .metrics import ApiMetrics, BrokerFacts, DamagedPlace, Histogram, Metrics, PartitionView, TopicsView, TopicView
from .turns import InTurns

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_END = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one scrape is made from."""

    metrics: Metrics
    facts: BrokerFacts


Labelled = Iterable[tuple[tuple[str, ...], float]]
LabelledHistograms = Iterable[tuple[tuple[str, ...], Histogram]]
Values = Family[Callable[[Scrape], Labelled]]
Histograms = Family[Callable[[Scrape], LabelledHistograms]]
OfTopic = Family[Callable[[TopicView], int]]
OfPartition = Family[Callable[[PartitionView, BrokerFacts], int]]


def _one(value: float) -> Labelled:
    return [((), value)]


def _by_api(read: Callable[[ApiMetrics], float]) -> Callable[[Scrape], Labelled]:
    return lambda scrape: [((api.name,), read(scrape.metrics.api(api.key))) for api in APIS.values()]


def _requests(scrape: Scrape) -> Labelled:
    for api in APIS.values():
        for error, count in scrape.metrics.api(api.key).requests.items():
            yield (api.name, _error_name(error)), count


def _error_name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)


def _damaged(place: DamagedPlace) -> tuple[str, ...]:
    end = "" if place.end is None else str(place.end)
    return place.topic, str(place.partition), place.file, str(place.begin), end


def _build(scrape: Scrape) -> Labelled:
    loop = type(asyncio.get_running_loop()).__module__
    python = ".".join(map(str, sys.version_info[:3]))
    return [((scrape.facts.version, python, "true" if loop.startswith("uvloop") else "false"), 1)]


BROKER: tuple[Values, ...] = (
    Family(
        name="tidelog_build_info",
        kind=GAUGE,
        labels=("version", "python", "uvloop"),
        text="Always 1; its labels tell the version, Python's version and whether uvloop runs the event loop.",
        read=_build,
    ),
    Family(
        name="tidelog_start_time_seconds",
        kind=GAUGE,
        text="When the broker was started, in seconds since 1970.",
        read=lambda scrape: _one(scrape.facts.started_ms / 1000),
    ),
    Family(
        name="kafka_brokers",
        kind=GAUGE,
        text="Brokers of the cluster.",
        read=lambda _: _one(1),
    ),
    Family(
        name="kafka_broker_info",
        kind=GAUGE,
        labels=("id", "address"),
        text="Always 1; its labels tell a broker's number and address.",
        read=lambda scrape: [((str(scrape.facts.node_id), scrape.facts.address), 1)],
    ),
)

BROKER_HISTOGRAMS: tuple[Histograms, ...] = (
    Family(
        name="tidelog_event_loop_lag_seconds",
        kind=HISTOGRAM,
        text="How much later than asked the event loop woke a timer; the broker's clearest sign of overload.",
        read=lambda scrape: [((), scrape.metrics.event_loop_lag)],
    ),
)

LISTENERS: tuple[Values, ...] = (
    Family(
        name="tidelog_connections",
        kind=GAUGE,
        labels=("listener",),
        text="Open connections of clients.",
        read=lambda scrape: (((name,), count) for name, count in scrape.metrics.connections_active.items()),
    ),
    Family(
        name="tidelog_connections_opened_total",
        kind=COUNTER,
        text="Connections accepted.",
        read=lambda scrape: _one(scrape.metrics.connections_opened),
    ),
    Family(
        name="tidelog_connections_closed_total",
        kind=COUNTER,
        labels=("reason",),
        text="Connections that ended, by who or what ended them.",
        read=lambda scrape: (((reason,), count) for reason, count in scrape.metrics.connections_closed.items()),
    ),
    Family(
        name="tidelog_connections_rejected_total",
        kind=COUNTER,
        labels=("limit",),
        text="Connections closed as they came, by the limit that was reached. They count as opened and closed, too.",
        read=lambda scrape: (((limit,), count) for limit, count in scrape.metrics.connections_rejected.items()),
    ),
    Family(
        name="tidelog_accept_pauses_total",
        kind=COUNTER,
        text="Times that connections had to wait a moment to be accepted, because no file descriptor was left.",
        read=lambda scrape: _one(scrape.metrics.accept_pauses),
    ),
    Family(
        name="tidelog_connections_waiting",
        kind=GAUGE,
        labels=("memory",),
        text="Connections that are not read from until there is memory for their `request`, and fetches that wait "
        "until there is memory for their `response`.",
        read=lambda scrape: (((memory,), count) for memory, count in scrape.metrics.waiting_for_memory.items()),
    ),
    Family(
        name="tidelog_request_memory_bytes",
        kind=GAUGE,
        text="Memory held by requests that are not whole or not answered; `queued.max.request.bytes` limits it.",
        read=lambda scrape: _one(scrape.metrics.request_memory_bytes),
    ),
    Family(
        name="tidelog_response_memory_bytes",
        kind=GAUGE,
        text="Memory held by answers that clients have not taken; `queued.max.response.bytes` limits it.",
        read=lambda scrape: _one(scrape.metrics.response_memory_bytes),
    ),
)

REQUESTS: tuple[Values, ...] = (
    Family(
        name="tidelog_requests_total",
        kind=COUNTER,
        labels=("api", "error"),
        text="Requests answered, by API and by the error code of the whole response; errors of single partitions are "
        "not seen here.",
        read=_requests,
    ),
    Family(
        name="tidelog_request_bytes_total",
        kind=COUNTER,
        labels=("api",),
        text="Bytes of the requests received.",
        read=_by_api(lambda api: api.request_bytes),
    ),
    Family(
        name="tidelog_response_bytes_total",
        kind=COUNTER,
        labels=("api",),
        text="Bytes of the responses sent.",
        read=_by_api(lambda api: api.response_bytes),
    ),
    Family(
        name="tidelog_inflight_requests",
        kind=GAUGE,
        text="Requests that wait for their answer: for the disk, or for records to fetch.",
        read=lambda scrape: _one(scrape.metrics.inflight_requests),
    ),
    Family(
        name="tidelog_incremental_fetch_sessions",
        kind=GAUGE,
        text="Fetch sessions: readers that name only what changes from one fetch to the next.",
        read=lambda scrape: _one(scrape.metrics.fetch_sessions),
    ),
    Family(
        name="tidelog_incremental_fetch_partitions_cached",
        kind=GAUGE,
        text="Partitions remembered in all fetch sessions together.",
        read=lambda scrape: _one(scrape.metrics.fetch_session_partitions),
    ),
    Family(
        name="tidelog_incremental_fetch_session_evictions_total",
        kind=COUNTER,
        text="Fetch sessions ended to make room for another; if it grows fast, raise "
        "`max.incremental.fetch.session.cache.slots`.",
        read=lambda scrape: _one(scrape.metrics.fetch_sessions_evicted),
    ),
)

REQUEST_HISTOGRAMS: tuple[Histograms, ...] = (
    Family(
        name="tidelog_request_duration_seconds",
        kind=HISTOGRAM,
        labels=("api",),
        text="From a request's last byte read to its response; a fetch that waits for records is long by intent.",
        read=lambda scrape: (((api.name,), scrape.metrics.api(api.key).duration) for api in APIS.values()),
    ),
)

STORAGE: tuple[Values, ...] = (
    Family(
        name="tidelog_segments_rolled_total",
        kind=COUNTER,
        text="Segments closed because the next one was begun.",
        read=lambda scrape: _one(scrape.metrics.segments_rolled),
    ),
    Family(
        name="tidelog_recovery_duration_seconds",
        kind=GAUGE,
        text="How long opening all logs took at the last start.",
        read=lambda scrape: _one(scrape.metrics.recovery_seconds),
    ),
    Family(
        name="tidelog_recovery_truncated_bytes",
        kind=GAUGE,
        text="Bytes that were cut off the logs at the last start: torn by a crash, never acknowledged as durable.",
        read=lambda scrape: _one(scrape.metrics.recovery_truncated_bytes),
    ),
    Family(
        name="tidelog_crc_errors_total",
        kind=COUNTER,
        text="Record batches refused because their bytes do not match their checksum.",
        read=lambda scrape: _one(scrape.metrics.crc_errors),
    ),
    Family(
        name="tidelog_topic_errors_total",
        kind=COUNTER,
        labels=("topic", "kind"),
        text="Failures of a topic's logs: `write`, `fsync`, `read` for bytes that the disk does not give, `corrupt` "
        "for such that are not what was written, `quarantined` for a log that takes no more for it.",
        read=lambda scrape: scrape.metrics.topic_errors.items(),
    ),
    Family(
        name="tidelog_damage_info",
        kind=GAUGE,
        labels=("topic", "partition", "file", "begin", "end"),
        text="Always 1; its labels tell from where to where a file of a log is damaged, or cannot be read now. No "
        "`end`: that cannot be told.",
        read=lambda scrape: [(_damaged(place), 1) for place in scrape.metrics.damage],
    ),
    Family(
        name="tidelog_scrubbed_bytes_total",
        kind=COUNTER,
        text="Bytes of segments that were read again to find out whether they are still what was written.",
        read=lambda scrape: _one(scrape.metrics.scrubbed_bytes),
    ),
    Family(
        name="tidelog_scrub_damaged_segments_total",
        kind=COUNTER,
        text="Segments that were found damaged by that.",
        read=lambda scrape: _one(scrape.metrics.scrub_damage),
    ),
    Family(
        name="tidelog_scrub_oldest_timestamp_seconds",
        kind=GAUGE,
        text="When the segment was last read that was not read for the longest, in seconds since 1970; 0 until known.",
        read=lambda scrape: _one(scrape.metrics.scrub_oldest_ms / 1000),
    ),
    Family(
        name="tidelog_disk_free_bytes",
        kind=GAUGE,
        labels=("dir",),
        text="Bytes left for the broker on the disk of the data directory.",
        read=lambda scrape: [((scrape.facts.data_dir,), scrape.facts.disk_free_bytes)],
    ),
    Family(
        name="tidelog_disk_total_bytes",
        kind=GAUGE,
        labels=("dir",),
        text="Bytes of the disk of the data directory, used or not.",
        read=lambda scrape: [((scrape.facts.data_dir,), scrape.facts.disk_total_bytes)],
    ),
    Family(
        name="tidelog_disk_min_free_bytes",
        kind=GAUGE,
        labels=("dir",),
        text="Bytes of the disk that are kept free; `log.min.free.bytes` sets them.",
        read=lambda scrape: [((scrape.facts.data_dir,), scrape.metrics.disk_min_free_bytes)],
    ),
    Family(
        name="tidelog_disk_reserve_bytes",
        kind=GAUGE,
        labels=("dir",),
        text="Bytes held in reserve for commits, deletions and the clean stop; fewer than `log.reserve.bytes` when "
        "others have filled the disk.",
        read=lambda scrape: [((scrape.facts.data_dir,), scrape.metrics.disk_reserve_bytes)],
    ),
    Family(
        name="tidelog_disk_writable",
        kind=GAUGE,
        labels=("dir",),
        text="1 while there is space for records; 0 while they are refused.",
        read=lambda scrape: [((scrape.facts.data_dir,), int(scrape.metrics.disk_writable))],
    ),
    Family(
        name="tidelog_disk_full_refusals_total",
        kind=COUNTER,
        text="Record batches, and creations and growths of topics, refused because the disk has no more than "
        "`log.min.free.bytes` left.",
        read=lambda scrape: _one(scrape.metrics.disk_full_refusals),
    ),
)

GROUP_HISTOGRAMS: tuple[Histograms, ...] = (
    Family(
        name="tidelog_group_rebalance_duration_seconds",
        kind=HISTOGRAM,
        text="From the first reason for a rebalance of a group until all of its members have their partitions.",
        read=lambda scrape: [((), scrape.metrics.rebalance)],
    ),
)

STORAGE_HISTOGRAMS: tuple[Histograms, ...] = (
    Family(
        name="tidelog_fsync_duration_seconds",
        kind=HISTOGRAM,
        text="How long one flush of one log to the disk took, or of many at one stroke; acks=all waits for it.",
        read=lambda scrape: [((), scrape.metrics.fsync)],
    ),
)

TOPICS: tuple[OfTopic, ...] = (
    Family(
        name="tidelog_topic_records_in_total",
        kind=COUNTER,
        labels=("topic",),
        text="Records appended.",
        read=lambda topic: sum(partition.records_in for partition in topic.partitions),
    ),
    Family(
        name="tidelog_topic_batches_in_total",
        kind=COUNTER,
        labels=("topic",),
        text="Record batches appended; few records a batch is a producer that does not linger.",
        read=lambda topic: sum(partition.batches_in for partition in topic.partitions),
    ),
    Family(
        name="tidelog_topic_bytes_in_total",
        kind=COUNTER,
        labels=("topic",),
        text="Bytes appended, as stored: compressed.",
        read=lambda topic: sum(partition.bytes_in for partition in topic.partitions),
    ),
    Family(
        name="tidelog_topic_bytes_out_total",
        kind=COUNTER,
        labels=("topic",),
        text="Bytes fetched, as stored: compressed.",
        read=lambda topic: sum(partition.bytes_out for partition in topic.partitions),
    ),
    Family(
        name="tidelog_topic_size_bytes",
        kind=GAUGE,
        labels=("topic",),
        text="Bytes of the topic's segments.",
        read=lambda topic: sum(partition.size_bytes for partition in topic.partitions),
    ),
    Family(
        name="tidelog_topic_segments",
        kind=GAUGE,
        labels=("topic",),
        text="Segments of the topic.",
        read=lambda topic: sum(partition.segment_count for partition in topic.partitions),
    ),
    Family(
        name="kafka_topic_partitions",
        kind=GAUGE,
        labels=("topic",),
        text="Partitions of the topic.",
        read=lambda topic: len(topic.partitions),
    ),
)

PARTITIONS: tuple[OfPartition, ...] = (
    Family(
        name="kafka_topic_partition_current_offset",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="The offset of the next record that consumers will see.",
        read=lambda partition, _: partition.log_end_offset,
    ),
    Family(
        name="kafka_topic_partition_oldest_offset",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="The offset of the oldest record that is kept.",
        read=lambda partition, _: partition.log_start_offset,
    ),
    Family(
        name="kafka_topic_partition_leader",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="The number of the broker that leads the partition.",
        read=lambda _, facts: facts.node_id,
    ),
    Family(
        name="kafka_topic_partition_leader_is_preferred",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="1 when the preferred broker leads the partition.",
        read=lambda *_: 1,
    ),
    Family(
        name="kafka_topic_partition_replicas",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="Replicas of the partition.",
        read=lambda *_: 1,
    ),
    Family(
        name="kafka_topic_partition_in_sync_replica",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="Replicas of the partition that are in sync.",
        read=lambda *_: 1,
    ),
    Family(
        name="kafka_topic_partition_under_replicated_partition",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="1 when the partition has fewer replicas in sync than replicas.",
        read=lambda *_: 0,
    ),
    Family(
        name="tidelog_partition_leader_epoch",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="The partition's leader epoch; it grows when a crash cost the log its tail, or may have.",
        read=lambda partition, _: partition.leader_epoch,
    ),
    Family(
        name="tidelog_partition_offline",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="1 when the partition takes no records until the broker is started again: its disk failed, or its log is "
        "damaged.",
        read=lambda partition, _: int(partition.is_offline),
    ),
    Family(
        name="tidelog_partition_quarantined",
        kind=GAUGE,
        labels=("topic", "partition"),
        text="1 when the partition's log is damaged where it was durable: nothing is cut, what is sound is served.",
        read=lambda partition, _: int(partition.is_quarantined),
    ),
)

PROCESS: tuple[Family[None], ...] = (
    Family(name="process_virtual_memory_bytes", kind=GAUGE, text="Virtual memory of the process.", read=None),
    Family(name="process_resident_memory_bytes", kind=GAUGE, text="Memory of the process that is resident.", read=None),
    Family(
        name="process_start_time_seconds", kind=GAUGE, text="Start of the process, in seconds since 1970.", read=None
    ),
    Family(name="process_cpu_seconds_total", kind=COUNTER, text="CPU time spent, user and system.", read=None),
    Family(name="process_max_fds", kind=GAUGE, text="File descriptors that the process may open.", read=None),
    Family(name="process_open_fds", kind=GAUGE, text="File descriptors that the process has open.", read=None),
)
"""What `prometheus_client` itself reads of the process on Linux; declared for the reference page."""


class _BoundedFamilies(Collector):
    """The families whose size does not depend on the topics."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        """Every family with its samples."""
        for values in (*BROKER, *LISTENERS, *REQUESTS, *STORAGE):
            make = CounterMetricFamily if values.kind == COUNTER else GaugeMetricFamily
            family = make(values.name, values.text, labels=values.labels)
            for labels, value in values.read(self._scrape):
                family.add_metric(labels, value)
            yield family
        for histograms in (*BROKER_HISTOGRAMS, *REQUEST_HISTOGRAMS, *GROUP_HISTOGRAMS, *STORAGE_HISTOGRAMS):
            rendered = HistogramMetricFamily(histograms.name, histograms.text, labels=histograms.labels)
            for labels, histogram in histograms.read(self._scrape):
                bounds = [*map(str, histogram.bounds), "+Inf"]
                buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
                rendered.add_metric(labels, buckets, sum_value=histogram.sum)
            yield rendered
        yield from ProcessCollector(registry=None).collect()


def render(
    metrics: Metrics, topics: TopicsView, facts: BrokerFacts, *, groups: Sequence[GroupLag] = (), accept: str = ""
) -> InTurns[tuple[bytes, str]]:
    """A scrape and its content type: OpenMetrics where `accept` knows it, else Prometheus text 0.0.4."""
    bounded = _BoundedFamilies(Scrape(metrics, facts))
    is_openmetrics = "application/openmetrics-text" in accept
    of_groups = yield from rendering(groups, metrics.groups, strip_total=is_openmetrics)
    unbounded = _render_topics(topics, facts, strip_total=is_openmetrics) + of_groups
    yield
    if is_openmetrics:
        rendered: bytes = generate_openmetrics(bounded)  # type: ignore[no-untyped-call]
        return rendered.removesuffix(OPENMETRICS_END) + unbounded + OPENMETRICS_END, OPENMETRICS
    return generate_latest(bounded) + unbounded, TEXT


def _render_topics(topics: TopicsView, facts: BrokerFacts, *, strip_total: bool) -> bytes:
    # A topic's name is [a-zA-Z0-9._-]: nothing in these labels needs escaping.
    snapshot = [(f'{{topic="{topic.name}"}} ', topic) for topic in topics]
    partitions = [
        (f'{{partition="{partition.index}",topic="{topic.name}"}} ', partition)
        for _, topic in snapshot
        for partition in topic.partitions
    ]
    lines: list[str] = []
    for family in TOPICS:
        lines.append(header(family.name, family.kind, family.text, strip_total=strip_total))
        name, of_topic = family.name, family.read
        lines.extend([f"{name}{labels}{of_topic(topic)}\n" for labels, topic in snapshot])
    for each in PARTITIONS:
        lines.append(header(each.name, each.kind, each.text, strip_total=strip_total))
        name, of_partition = each.name, each.read
        lines.extend([f"{name}{labels}{of_partition(partition, facts)}\n" for labels, partition in partitions])
    return "".join(lines).encode()
