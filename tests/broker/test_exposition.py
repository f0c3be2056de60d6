"""A scrape: what is declared is rendered, what is rendered is declared, and the numbers are those that were counted."""

import asyncio

import pytest

from support.scrape import FACTS, OPENMETRICS_ACCEPT, ATopic, busy_metrics, busy_scrape, busy_topics, scrape
from tidelog.broker.exposition import (
    BROKER,
    BROKER_HISTOGRAMS,
    GROUP_HISTOGRAMS,
    LISTENERS,
    PARTITIONS,
    PROCESS,
    REQUEST_HISTOGRAMS,
    REQUESTS,
    STORAGE,
    STORAGE_HISTOGRAMS,
    TOPICS,
    render,
)
from tidelog.broker.families import COUNTER, HISTOGRAM, Family
from tidelog.broker.group_exposition import GROUP_PARTITIONS, GROUP_TOPICS, GROUPS
from tidelog.broker.metrics import BUCKETS, REBALANCE_BUCKETS, Metrics
from tidelog.broker.turns import at_once
from tidelog.protocol.apis import ApiKey

HISTOGRAMS: list[Family[object]] = [
    *BROKER_HISTOGRAMS,
    *REQUEST_HISTOGRAMS,
    *GROUP_HISTOGRAMS,
    *STORAGE_HISTOGRAMS,
]
OF_GROUPS: list[Family[object]] = [*GROUPS, *GROUP_TOPICS, *GROUP_PARTITIONS]
DECLARED: list[Family[object]] = [
    *(*BROKER, *LISTENERS, *REQUESTS, *STORAGE, *TOPICS, *PARTITIONS, *PROCESS),
    *OF_GROUPS,
    *HISTOGRAMS,
]
FORMATS = ["", OPENMETRICS_ACCEPT]

# ux.md 3.1: the names that dashboards made for kafka_exporter ask for.
KAFKA_EXPORTER = {
    "kafka_brokers": [],
    "kafka_broker_info": ["id", "address"],
    "kafka_topic_partitions": ["topic"],
    "kafka_topic_partition_current_offset": ["topic", "partition"],
    "kafka_topic_partition_oldest_offset": ["topic", "partition"],
    "kafka_topic_partition_leader": ["topic", "partition"],
    "kafka_topic_partition_leader_is_preferred": ["topic", "partition"],
    "kafka_topic_partition_replicas": ["topic", "partition"],
    "kafka_topic_partition_in_sync_replica": ["topic", "partition"],
    "kafka_topic_partition_under_replicated_partition": ["topic", "partition"],
    "kafka_consumergroup_current_offset": ["consumergroup", "topic", "partition"],
    "kafka_consumergroup_current_offset_sum": ["consumergroup", "topic"],
    "kafka_consumergroup_lag": ["consumergroup", "topic", "partition"],
    "kafka_consumergroup_lag_sum": ["consumergroup", "topic"],
    "kafka_consumergroup_members": ["consumergroup"],
}


@pytest.mark.parametrize("accept", FORMATS)
async def test_a_scrape_has_every_declared_metric_and_no_other(accept: str) -> None:
    rendered = busy_scrape(accept=accept)
    assert set(rendered) == {family.name.removesuffix("_total") for family in DECLARED}


@pytest.mark.parametrize("accept", FORMATS)
async def test_every_metric_has_the_declared_type_labels_and_prose(accept: str) -> None:
    rendered = busy_scrape(accept=accept)
    for declared in DECLARED:
        family = rendered[declared.name.removesuffix("_total")]
        assert family.type == declared.kind
        assert family.samples, f"{declared.name} has no samples"
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(declared.labels)
        if declared not in PROCESS:
            assert family.documentation == declared.text


def test_names_follow_prometheus_rules() -> None:
    assert len({family.name for family in DECLARED}) == len(DECLARED)
    for family in DECLARED:
        assert (family.kind == COUNTER) == family.name.endswith("_total"), family.name
        assert family.text.endswith("."), family.name
        assert "\n" not in family.text
        assert "\\" not in family.text
    for family in HISTOGRAMS:
        assert family.kind == HISTOGRAM
        assert family.name.endswith("_seconds")


async def test_the_names_of_kafka_exporter_are_there_with_its_labels() -> None:
    by_name = {family.name: family for family in DECLARED}
    assert {name: list(by_name[name].labels) for name in KAFKA_EXPORTER} == KAFKA_EXPORTER


async def test_both_formats_say_the_same() -> None:
    text, openmetrics = busy_scrape(), busy_scrape(accept=OPENMETRICS_ACCEPT)
    for name, family in text.items():
        if not name.startswith("process_"):
            values = {(sample.name, *sorted(sample.labels.items())): sample.value for sample in family.samples}
            again = {(one.name, *sorted(one.labels.items())): one.value for one in openmetrics[name].samples}
            assert values == again


def value(name: str, **labels: str) -> float:
    """The one sample of a busy scrape that has these labels."""
    (found,) = (
        sample.value
        for family in busy_scrape().values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )
    return found


async def test_counts_come_out_as_they_were_counted() -> None:
    assert value("tidelog_connections", listener="127.0.0.1:9092") == 2
    assert value("tidelog_connections_opened_total") == 3
    assert value("tidelog_connections_closed_total", reason="idle") == 1
    assert value("tidelog_crc_errors_total") == 4
    assert value("tidelog_segments_rolled_total") == 5
    assert value("tidelog_recovery_truncated_bytes") == 6
    assert value("tidelog_recovery_duration_seconds") == 0.25
    assert value("tidelog_inflight_requests") == 8
    assert value("tidelog_incremental_fetch_sessions") == 3
    assert value("tidelog_incremental_fetch_partitions_cached") == 30
    assert value("tidelog_incremental_fetch_session_evictions_total") == 11
    assert value("tidelog_topic_errors_total", topic="orders", kind="fsync") == 1
    assert value("tidelog_start_time_seconds") == 1_750_000_000.5
    assert value("tidelog_disk_free_bytes", dir='/a "b" \\c') == 1 << 40
    assert value("tidelog_disk_total_bytes", dir='/a "b" \\c') == 1 << 41
    assert value("kafka_broker_info", id="7", address="127.0.0.1:9092") == 1


async def test_requests_are_counted_by_api_and_error() -> None:
    assert value("tidelog_requests_total", api="Produce", error="NONE") == 1
    assert value("tidelog_requests_total", api="Produce", error="INVALID_REQUIRED_ACKS") == 2
    assert value("tidelog_requests_total", api="Fetch", error="NONE") == 0
    assert value("tidelog_request_bytes_total", api="Produce") == 900
    assert value("tidelog_response_bytes_total", api="Produce") == 90


async def test_an_error_code_that_has_no_name_is_shown_by_its_number() -> None:
    metrics = busy_metrics()
    metrics.api(ApiKey.PRODUCE).requests[9999] = 1
    samples = scrape(metrics)["tidelog_requests"].samples
    assert "9999" in {sample.labels["error"] for sample in samples}


async def test_histograms_cumulate() -> None:
    assert value("tidelog_fsync_duration_seconds_bucket", le="0.001") == 0
    assert value("tidelog_fsync_duration_seconds_bucket", le="0.0025") == 1
    assert value("tidelog_fsync_duration_seconds_bucket", le="+Inf") == 1
    assert value("tidelog_fsync_duration_seconds_count") == 1
    assert value("tidelog_fsync_duration_seconds_sum") == 0.002
    buckets = [one for one in busy_scrape()["tidelog_fsync_duration_seconds"].samples if one.name.endswith("_bucket")]
    assert [float(one.labels["le"]) for one in buckets] == [*BUCKETS, float("inf")]


async def test_rebalances_have_buckets_of_their_own() -> None:
    buckets = busy_scrape()["tidelog_group_rebalance_duration_seconds"].samples
    bounds = [float(one.labels["le"]) for one in buckets if one.name.endswith("_bucket")]
    assert bounds == [*REBALANCE_BUCKETS, float("inf")]
    assert value("tidelog_group_rebalance_duration_seconds_bucket", le="0.1") == 0
    assert value("tidelog_group_rebalance_duration_seconds_bucket", le="0.5") == 1


async def test_a_topic_is_the_sum_of_its_partitions() -> None:
    assert value("tidelog_topic_records_in_total", topic="orders") == 21
    assert value("tidelog_topic_batches_in_total", topic="orders") == 4
    assert value("tidelog_topic_bytes_in_total", topic="orders") == 3000
    assert value("tidelog_topic_bytes_out_total", topic="orders") == 500
    assert value("tidelog_topic_size_bytes", topic="orders") == 4001
    assert value("tidelog_topic_segments", topic="orders") == 3
    assert value("kafka_topic_partitions", topic="orders") == 2
    assert value("kafka_topic_partitions", topic="a.b_c-d") == 1


async def test_offsets_are_those_that_consumers_see() -> None:
    assert value("kafka_topic_partition_current_offset", topic="orders", partition="0") == 30
    assert value("kafka_topic_partition_oldest_offset", topic="orders", partition="0") == 10
    assert value("kafka_topic_partition_leader", topic="orders", partition="1") == 7
    assert value("tidelog_partition_leader_epoch", topic="orders", partition="0") == 1


async def test_damage_is_named_by_file_and_byte_range() -> None:
    """House rule 1.6. An end that nobody knows is no end, and the topic's end is the end of it."""
    place = {"topic": "orders", "partition": "1"}
    assert value("tidelog_damage_info", **place, file="orders-1/7.log", begin="61", end="122") == 1
    assert value("tidelog_damage_info", **place, file="orders-1/8.log", begin="0", end="") == 1
    assert value("tidelog_scrubbed_bytes_total") == 12
    assert value("tidelog_scrub_damaged_segments_total") == 2
    assert value("tidelog_scrub_oldest_timestamp_seconds") == 1_750_000_000.25
    assert value("tidelog_partition_offline", topic="orders", partition="0") == 1
    assert value("tidelog_partition_quarantined", topic="orders", partition="1") == 0


async def test_an_empty_broker_can_be_scraped() -> None:
    for accept in FORMATS:
        assert scrape(accept=accept)["kafka_brokers"].samples[0].value == 1


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS_ACCEPT, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
async def test_the_format_is_what_the_scraper_can_read(accept: str, content_type: str) -> None:
    body, said = at_once(render(Metrics(), [], FACTS, accept=accept))
    assert said == content_type
    assert body.endswith(b"# EOF\n") == said.startswith("application/openmetrics")


async def test_openmetrics_ends_once() -> None:
    body, _ = at_once(render(busy_metrics(), busy_topics(), FACTS, accept=OPENMETRICS_ACCEPT))
    assert body.count(b"# EOF") == 1


async def test_topics_may_be_any_iterable_that_is_read_once() -> None:
    body, _ = at_once(render(Metrics(), iter([ATopic("once")]), FACTS))
    assert body.count(b'topic="once"') == len(TOPICS) + len(PARTITIONS)


async def test_the_loop_is_named() -> None:
    (sample,) = scrape()["tidelog_build_info"].samples
    is_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    assert sample.labels["uvloop"] == ("true" if is_uvloop else "false")
    assert sample.labels["version"] == "1.2.3"
