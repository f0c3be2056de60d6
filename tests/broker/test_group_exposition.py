"""Groups in a scrape: numbers that are known, of groups and topics that exist, under any name."""

import pytest

from support.scrape import OPENMETRICS_ACCEPT, busy_groups, busy_metrics, busy_scrape, scrape
from tidelog.broker import group_exposition
from tidelog.broker.group_exposition import GROUP_PARTITIONS, GROUP_TOPICS, GROUPS
from tidelog.protocol.messages.describe_lag import GroupLag, PartitionLag, TopicLag

STRANGE = 'a "b"\\c\nd'
FORMATS = ["", OPENMETRICS_ACCEPT]


def values(name: str, *, accept: str = "") -> dict[tuple[str, ...], float]:
    """The samples of a family in a busy scrape, by the values of its labels in the order of their declaration."""
    [labels] = [one.labels for one in (*GROUPS, *GROUP_TOPICS, *GROUP_PARTITIONS) if one.name == name]
    samples = busy_scrape(accept=accept)[name.removesuffix("_total")].samples
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in samples}


@pytest.mark.parametrize("accept", FORMATS)
async def test_lag_is_told_by_partition_and_summed_by_topic(accept: str) -> None:
    assert values("kafka_consumergroup_lag", accept=accept) == {
        ("billing", "orders", "0"): 20,
        ("billing", "orders", "1"): 0,
        ("billing", "orders", "2"): -1,
    }
    for name in ("kafka_consumergroup_lag_sum", "tidelog_group_lag", "tidelog_group_lag_max"):
        assert values(name, accept=accept) == {("billing", "orders"): 20}


async def test_a_partition_in_which_nothing_was_committed_counts_in_no_sum() -> None:
    assert values("kafka_consumergroup_current_offset")["billing", "orders", "2"] == -1
    assert values("kafka_consumergroup_current_offset_sum") == {("billing", "orders"): 17}


async def test_the_oldest_unread_record_gives_a_topic_its_age() -> None:
    assert values("tidelog_group_lag_seconds") == {("billing", "orders"): 1.5}


async def test_an_age_that_nobody_knows_has_no_series() -> None:
    unknown = PartitionLag(committed_offset=1, log_start_offset=0, end_offset=9, lag=8)
    [billing, _] = busy_groups()
    [_, orders] = billing.topics
    topic = TopicLag(name="orders", topic_id=orders.topic_id, partitions=(unknown,))
    families = scrape(groups=[GroupLag(group_id="billing", topics=(topic,))])
    assert families["tidelog_group_lag_seconds"].samples == []
    assert families["tidelog_group_last_commit_timestamp_seconds"].samples == []
    assert [sample.value for sample in families["tidelog_group_lag"].samples] == [8]


@pytest.mark.parametrize("accept", FORMATS)
async def test_a_group_may_be_called_anything(accept: str) -> None:
    assert values("tidelog_group_members", accept=accept) == {("billing",): 2, (STRANGE,): 0}
    assert values("kafka_consumergroup_members", accept=accept) == {("billing",): 2, (STRANGE,): 0}
    assert values("tidelog_group_state", accept=accept) == {("billing", "Stable"): 1, (STRANGE, "Empty"): 1}


async def test_commits_and_rebalances_are_counted_by_group() -> None:
    assert values("tidelog_group_commits_total") == {("billing",): 2, (STRANGE,): 0}
    assert values("tidelog_group_rebalances_total") == {("billing", "member joined"): 1}
    assert values("tidelog_group_last_commit_timestamp_seconds") == {("billing",): 1_750_000_000.5}


async def test_a_group_that_is_gone_leaves_no_series() -> None:
    """Though it is still counted, for a moment or for long."""
    families = scrape(busy_metrics())
    for family in (*GROUPS, *GROUP_TOPICS, *GROUP_PARTITIONS):
        assert families[family.name.removesuffix("_total")].samples == [], family.name


async def test_a_topic_that_is_gone_has_no_series() -> None:
    shown = {sample.labels.get("topic") for family in busy_scrape().values() for sample in family.samples}
    assert "gone" in {topic.name for group in busy_groups() for topic in group.topics}
    assert "gone" not in shown


async def test_beyond_so_many_partitions_the_sums_alone_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_exposition, "PARTITIONS_MAX", 2)
    families = busy_scrape()
    for family in GROUP_PARTITIONS:
        assert families[family.name].samples == []
        assert "sums stay" in family.text
    assert len(families["kafka_consumergroup_lag_sum"].samples) == 1
