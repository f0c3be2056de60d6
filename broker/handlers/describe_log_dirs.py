"""DescribeLogDirs v1-5: the data directory, and how much of each partition lies in it (KIP-113).

v2 flexible; v4 the size of the disk (KIP-827); v5 directories that take no new partitions (KIP-1066): ours, the only
one, always does. The cluster's own log is no topic, and is not told of.
"""

import logging
import os.path
from collections.abc import Iterator

from ...protocol.errors import ErrorCode
from ...protocol.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)
from ...storage.errors import StorageError
from ..errors import code_of
from ..request import RequestContext
from ..services import Services
from ..topics.partition import Partition
from ..topics.registry import Topic

logger = logging.getLogger(__name__)


def describe_log_dirs(
    context: RequestContext, services: Services, request: DescribeLogDirsRequest
) -> DescribeLogDirsResponse:
    """Answer with the one directory there is."""
    del context
    return DescribeLogDirsResponse(results=(_directory(services, request),))


def _directory(services: Services, request: DescribeLogDirsRequest) -> DescribeLogDirsResult:
    path = os.path.abspath(services.config.data_dir)
    if services.metadata_log.offline:
        # Single logs may fail and others go on; with this one, nothing in the directory can be changed any more.
        return DescribeLogDirsResult(error_code=ErrorCode.KAFKA_STORAGE_ERROR, log_dir=path)
    try:
        total, usable = services.directory.total_bytes(), services.directory.free_bytes()
    except StorageError as error:
        logger.warning("data directory could not be looked at path=%s error=%s", path, error)
        return DescribeLogDirsResult(error_code=code_of(error), log_dir=path)
    return DescribeLogDirsResult(
        log_dir=path,
        topics=tuple(
            DescribeLogDirsTopic(
                name=topic.name,
                partitions=tuple(
                    DescribeLogDirsPartition(partition_index=partition.index, partition_size=partition.size_bytes)
                    for partition in partitions
                ),
            )
            for topic, partitions in _wanted(services, request)
            if partitions
        ),
        total_bytes=total,
        usable_bytes=usable,
    )


def _wanted(services: Services, request: DescribeLogDirsRequest) -> Iterator[tuple[Topic, list[Partition]]]:
    """What was asked for and is here; of the rest there is nothing to say."""
    if request.topics is None:
        for topic in services.topics:
            yield topic, topic.partitions
        return
    asked: dict[str, set[int]] = {}
    for wanted in request.topics:
        asked.setdefault(wanted.topic, set()).update(wanted.partitions)
    for name, indexes in asked.items():
        found = services.topics.by_name(name)
        if found is not None:
            yield found, [partition for partition in found.partitions if partition.index in indexes]
