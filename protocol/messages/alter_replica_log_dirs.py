"""AlterReplicaLogDirs (34): moves partitions to other data directories of the same broker (KIP-113).

v0 is dropped. v1 is like it. v2: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, int32_array, string


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterReplicaLogDirTopic:
    """Partitions of a topic."""

    name: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterReplicaLogDir:
    """A directory and what is to be moved there."""

    path: str = string()
    topics: tuple[AlterReplicaLogDirTopic, ...] = array(AlterReplicaLogDirTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterReplicaLogDirsRequest:
    """Moves partitions."""

    dirs: tuple[AlterReplicaLogDir, ...] = array(AlterReplicaLogDir)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterReplicaLogDirPartitionResult:
    """What became of one partition."""

    partition_index: int = int32()
    error_code: int = error()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterReplicaLogDirTopicResult:
    """What became of a topic's partitions."""

    topic_name: str = string()
    partitions: tuple[AlterReplicaLogDirPartitionResult, ...] = array(AlterReplicaLogDirPartitionResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterReplicaLogDirsResponse:
    """What became of the partitions."""

    throttle_time_ms: int = int32()
    results: tuple[AlterReplicaLogDirTopicResult, ...] = array(AlterReplicaLogDirTopicResult)
