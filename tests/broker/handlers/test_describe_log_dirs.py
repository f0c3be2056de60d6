"""DescribeLogDirs: the data directory, what lies in it, and how it is (KIP-113, KIP-827)."""

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.house import House, a_house
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with `orders`, of three partitions, and `payments`."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 3)
        await house.create("payments")
        yield house


def described(house: House, request: DescribeLogDirsRequest, version: int = 5) -> DescribeLogDirsResult:
    response = house.call(request, version)
    assert isinstance(response, DescribeLogDirsResponse)
    assert response.error_code == ErrorCode.NONE
    [result] = response.results
    return result


def sizes(result: DescribeLogDirsResult) -> dict[tuple[str, int], int]:
    return {
        (topic.name, partition.partition_index): partition.partition_size
        for topic in result.topics
        for partition in topic.partitions
    }


ALL = DescribeLogDirsRequest(topics=None)


@pytest.mark.parametrize("version", range(1, 6))
async def test_the_directory_is_told_with_all_that_lies_in_it(house: House, tmp_path: Path, version: int) -> None:
    await house.produce("orders", a_batch([b"x" * 1000]), partition=2)
    result = described(house, ALL, version)
    assert (result.error_code, result.log_dir, result.is_cordoned) == (ErrorCode.NONE, str(tmp_path / "data"), False)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "data" / "orders-2").glob("*.log"))
    assert on_disk > 1000
    assert sizes(result) == {("orders", 0): 0, ("orders", 1): 0, ("orders", 2): on_disk, ("payments", 0): 0}
    assert {(partition.offset_lag, partition.is_future_key) for partition in result.topics[0].partitions} == {
        (0, False)
    }
    assert 0 < result.usable_bytes <= result.total_bytes


async def test_a_directory_is_told_with_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with a_house(Path("here")) as house:
        assert described(house, ALL).log_dir == str(tmp_path / "here")


async def test_only_what_was_asked_for_is_told_and_what_is_not_there_is_no_error(house: House) -> None:
    asked = (
        DescribableLogDirTopic(topic="orders", partitions=(2, 0, 7, -1)),
        DescribableLogDirTopic(topic="nowhere", partitions=(0,)),
        DescribableLogDirTopic(topic="payments", partitions=()),
        DescribableLogDirTopic(topic="__cluster_metadata", partitions=(0,)),
        DescribableLogDirTopic(topic="orders", partitions=(0,)),
    )
    result = described(house, DescribeLogDirsRequest(topics=asked))
    assert [topic.name for topic in result.topics] == ["orders"]
    assert sorted(sizes(result)) == [("orders", 0), ("orders", 2)]


async def test_no_topics_are_not_all_topics(house: House) -> None:
    result = described(house, DescribeLogDirsRequest(topics=()))
    assert (result.error_code, result.topics) == (ErrorCode.NONE, ())


async def test_a_directory_that_cannot_be_looked_at_is_told_as_such(house: House, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    result = described(house, ALL)
    (tmp_path / "elsewhere").rename(tmp_path / "data")
    assert (result.error_code, result.topics) == (ErrorCode.KAFKA_STORAGE_ERROR, ())
    assert (result.total_bytes, result.usable_bytes) == (-1, -1)


@on_the_bench
async def test_a_directory_whose_metadata_cannot_be_written_is_offline(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    assert described(house, ALL).error_code == ErrorCode.NONE
    bench.disk.fail_next("sync", errno.EIO, path="__cluster_metadata")
    with pytest.raises(AssertionError, match="KAFKA_STORAGE_ERROR"):
        await house.create("refused")
    result = described(house, ALL)
    assert (result.error_code, result.topics) == (ErrorCode.KAFKA_STORAGE_ERROR, ())
