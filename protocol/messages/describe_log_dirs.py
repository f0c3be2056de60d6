"""DescribeLogDirs (35): the data directories, and how much of each partition is in them (KIP-113).

v2: flexible. v3: an error_code for the answer as a whole. v4: the volume's size and its free space (KIP-827). v5:
directories that take no new partitions (KIP-1066).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int32, int32_array, int64, nullable_array, string


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribableLogDirTopic:
    """Partitions to look for."""

    topic: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLogDirsRequest:
    """Asks about partitions in the data directories."""

    topics: tuple[DescribableLogDirTopic, ...] | None = nullable_array(DescribableLogDirTopic)
    """Null: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLogDirsPartition:
    """A partition's log in a directory."""

    partition_index: int = int32()
    partition_size: int = int64()
    """Bytes of its segments."""
    offset_lag: int = int64()
    """How far the log's end is behind: a log in place behind the high watermark, a future one behind the present one.
    """
    is_future_key: bool = boolean()
    """It is being copied here and will replace the present log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLogDirsTopic:
    """A topic's logs in a directory."""

    name: str = string()
    partitions: tuple[DescribeLogDirsPartition, ...] = array(DescribeLogDirsPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLogDirsResult:
    """A data directory."""

    error_code: int = error()
    log_dir: str = string()
    topics: tuple[DescribeLogDirsTopic, ...] = array(DescribeLogDirsTopic)
    total_bytes: int = int64(-1, versions="4+")
    """Of the volume; -1 if unknown."""
    usable_bytes: int = int64(-1, versions="4+")
    """Free on the volume; -1 if unknown."""
    is_cordoned: bool = boolean(versions="5+")
    """No new partition is put here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLogDirsResponse:
    """The data directories."""

    throttle_time_ms: int = int32()
    error_code: int = error(versions="3+")
    results: tuple[DescribeLogDirsResult, ...] = array(DescribeLogDirsResult)
