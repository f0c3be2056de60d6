"""Topics, offsets and the cluster: what is asked or changed now and then.

Calls are repeated while they fail for a reason that may pass, until the client's `timeout`. A repeated `create_topic`
may find that the first attempt succeeded after all and raise TopicExists; likewise `delete_topic` and TopicNotFound,
`create_partitions` and Refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from ..protocol.errors import ErrorCode
from ..protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
)
from ..protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from ..protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicState
from ..protocol.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from .cluster import Broker, Cluster, Topic
from .config import Address
from .errors import Refused, error_for
from .groups import GroupAdmin
from .lookup import OffsetAt, list_offsets, resolve
from .offsets import OffsetSpec, parse_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedTopic:
    """A topic that was created, as the broker made it."""

    name: str
    topic_id: UUID
    partitions: int
    replication_factor: int
    configs: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDescription:
    """The cluster and its brokers."""

    cluster_id: str
    controller_id: int
    brokers: tuple[Broker, ...]


class Admin:
    """Asks about and changes topics; found at `Client.admin`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def groups(self) -> GroupAdmin:
        """The groups: who reads what, how far, and how far behind."""
        return GroupAdmin(self._cluster)

    async def create_topic(
        self,
        name: str,
        partitions: int = -1,
        config: Mapping[str, object] | None = None,
        *,
        replication_factor: int = -1,
        validate_only: bool = False,
    ) -> CreatedTopic:
        """Create a topic; -1 leaves a number to the broker. TopicExists if there is one."""
        configs = tuple(
            CreatableTopicConfig(name=key, value=_config_value(value)) for key, value in (config or {}).items()
        )
        topic = CreatableTopic(
            name=name, num_partitions=partitions, replication_factor=replication_factor, configs=configs
        )
        request = CreateTopicsRequest(
            topics=(topic,), timeout_ms=self._timeout_ms(), validate_only=validate_only
        )  # fmt: skip

        async def attempt(timeout: float) -> CreatedTopic:
            response = await self._cluster.ask_controller(request, CreateTopicsResponse, timeout=timeout)
            for created in response.topics:
                if created.name == name:
                    if created.error_code != ErrorCode.NONE:
                        raise error_for(created.error_code, created.error_message, about=f"topic {name!r}")
                    return CreatedTopic(
                        name=name,
                        topic_id=created.topic_id,
                        partitions=created.num_partitions,
                        replication_factor=created.replication_factor,
                        configs={entry.name: entry.value for entry in created.configs or ()},
                    )
            raise Refused(f"the broker's answer does not name topic {name!r}")

        return await self._cluster.persist(attempt)

    async def create_partitions(self, topic: str, total: int, *, validate_only: bool = False) -> None:
        """Give a topic more partitions, so that it has `total`. Refused if it has so many already.

        What is keyed may go to another partition from then on.
        """
        request = CreatePartitionsRequest(
            topics=(CreatePartitionsTopic(name=topic, count=total, assignments=None),),
            timeout_ms=self._timeout_ms(),
            validate_only=validate_only,
        )

        async def attempt(timeout: float) -> None:
            response = await self._cluster.ask_controller(request, CreatePartitionsResponse, timeout=timeout)
            self._cluster.forget(topic)
            for grown in response.results:
                if grown.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                    raise error_for(grown.error_code, f"there is no topic {topic!r}")
                if grown.error_code != ErrorCode.NONE:
                    raise error_for(grown.error_code, grown.error_message, about=f"topic {topic!r}")

        await self._cluster.persist(attempt)

    async def delete_topic(self, name: str) -> None:
        """Delete a topic and all it holds. TopicNotFound if there is none."""
        request = DeleteTopicsRequest(topics=(DeleteTopicState(name=name),), timeout_ms=self._timeout_ms())

        async def attempt(timeout: float) -> None:
            response = await self._cluster.ask_controller(request, DeleteTopicsResponse, timeout=timeout)
            self._cluster.forget(name)
            for deleted in response.responses:
                if deleted.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                    # Retriable for those who follow a topic, an answer for who wants it gone.
                    raise error_for(deleted.error_code, f"there is no topic {name!r}")
                if deleted.error_code != ErrorCode.NONE:
                    raise error_for(deleted.error_code, deleted.error_message, about=f"topic {name!r}")

        await self._cluster.persist(attempt)

    async def list_topics(self, *, internal: bool = False) -> list[Topic]:
        """All topics by name, with their partitions; the broker's own ones only if asked for."""
        topics = await self._cluster.read_all_topics()
        return sorted((topic for topic in topics if internal or not topic.is_internal), key=lambda topic: topic.name)

    async def describe_topic(self, name: str) -> Topic:
        """A topic and its partitions, as the broker knows them now. TopicNotFound if there is none."""
        return await self._cluster.read_topic(name)

    async def describe_cluster(self) -> ClusterDescription:
        """The cluster and its brokers."""
        response = await self._cluster.ask(DescribeClusterRequest(), DescribeClusterResponse)
        if response.error_code != ErrorCode.NONE:
            raise error_for(response.error_code, response.error_message, about="DescribeCluster")
        return ClusterDescription(
            cluster_id=response.cluster_id,
            controller_id=response.controller_id,
            brokers=tuple(
                Broker(broker.broker_id, Address(broker.host, broker.port), broker.rack) for broker in response.brokers
            ),
        )

    async def list_offsets(
        self, topic: str, specs: Mapping[int, OffsetSpec] | OffsetSpec = "latest"
    ) -> dict[int, OffsetAt]:
        """Offsets by partition, in the forms that `read` takes; one form alone is asked of every partition."""
        now_ms = self._cluster.config.now_ms()
        known = await self._cluster.read_topic(topic)
        if not isinstance(specs, Mapping):
            specs = dict.fromkeys(range(len(known.partitions)), specs)
        queries = {partition: parse_offset(spec, now_ms=now_ms) for partition, spec in specs.items()}
        told = {
            partition: query.query for partition, query in queries.items() if query.offset is None and not query.back
        }
        found = await list_offsets(self._cluster, topic, told) if told else {}
        others = {partition: query for partition, query in queries.items() if partition not in found}
        for partition, offset in (await resolve(self._cluster, topic, others)).items():
            found[partition] = OffsetAt(offset=offset)
        return dict(sorted(found.items()))

    def _timeout_ms(self) -> int:
        return max(1, round(self._cluster.config.timeout * 1000))  # 0 waits for nothing


def _config_value(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
