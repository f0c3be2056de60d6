"""DescribeLag: what says nothing says "unknown", never "nothing to read"."""

from tidelog.protocol.messages.describe_lag import DescribeLagRequest, PartitionLag


def test_what_is_absent_asks_for_everything() -> None:
    assert DescribeLagRequest() == DescribeLagRequest(group_ids=None, topics=None)


def test_what_is_absent_in_an_answer_is_unknown_and_not_zero() -> None:
    silent = PartitionLag(partition_index=3)
    assert {getattr(silent, name) for name in PartitionLag.__slots__ if name != "partition_index"} == {-1}
