"""CreateTopics v0-7 [L-17]: v1 validate only; v4 defaults for -1; v5 flexible, and the settings in the answer; v7
topic ids."""

from collections.abc import Mapping
from uuid import UUID

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from ...protocol.primitives import ZERO_UUID
from ...storage.config import ConfigError, spelled
from ..each_topic import EachTopic
from ..errors import code_of, message_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.registry import Topic

DEFAULT = -1
REPLICAS = 1


def create_topics(
    context: RequestContext, services: Services, request: CreateTopicsRequest
) -> Pending[CreateTopicsResponse]:
    """Create what can be created; each topic is answered for itself, once the fact of it is durable."""
    del context
    return _Creation(services, request).pending


class _Creation:
    """One request until each of its topics has an outcome."""

    def __init__(self, services: Services, request: CreateTopicsRequest) -> None:
        self._services = services
        self._validate_only = request.validate_only
        self._results = EachTopic(
            [topic.name for topic in request.topics],
            timeout_ms=request.timeout_ms,
            failure=_failure,
            answer=lambda results: CreateTopicsResponse(topics=results),
        )
        self._results.start(
            request.topics, partitions=lambda topic: _partitions_asked(topic, services), begin=self._start
        )

    @property
    def pending(self) -> Pending[CreateTopicsResponse]:
        """The answer."""
        return self._results.pending

    def _start(self, topic: CreatableTopic) -> None:
        topics = self._services.topics
        try:
            # In Kafka's order: who creates what exists hears that first, whatever else is wrong.
            topics.check_name(topic.name)
            configs = spelled(_configs_of(topic))
            partitions = _partitions_of(topic, self._services)
            if self._validate_only:
                self._results.end(topic.name, self._result(topic.name, partitions, configs))
                return

            def ended(outcome: Topic | Exception) -> None:
                if isinstance(outcome, Exception):
                    self._results.fail(topic.name, outcome)
                else:
                    result = self._result(topic.name, partitions, configs, topic_id=outcome.topic_id)
                    self._results.end(topic.name, result)

            self._services.disk_space.admit_partitions(partitions)
            topics.create(topic.name, partitions=partitions, configs=configs, waiter=ended)
        except RequestRefused as error:
            self._results.fail(topic.name, error)
        except ConfigError as error:
            self._results.fail(topic.name, RequestRefused(ErrorCode.INVALID_CONFIG, str(error)))

    def _result(
        self, name: str, partitions: int, configs: Mapping[str, str], *, topic_id: UUID = ZERO_UUID
    ) -> CreatableTopicResult:
        return CreatableTopicResult(
            name=name,
            topic_id=topic_id,
            error_message=None,
            num_partitions=partitions,
            replication_factor=REPLICAS,
            configs=tuple(
                CreatableTopicConfigs(
                    name=entry.name, value=entry.value, read_only=entry.read_only, config_source=entry.source
                )
                for entry in self._services.configs.topic_entries(configs)
            ),
        )


def _partitions_asked(topic: CreatableTopic, services: Services) -> int:
    """How many partitions a topic would add to the request, be they legal or not."""
    if topic.assignments:
        return len(topic.assignments)
    return services.config.num_partitions if topic.num_partitions == DEFAULT else max(topic.num_partitions, 0)


def _partitions_of(topic: CreatableTopic, services: Services) -> int:
    """How many partitions are meant. Raises RequestRefused in Kafka's words."""
    return _assigned_partitions(topic, services) if topic.assignments else _counted_partitions(topic, services)


def _counted_partitions(topic: CreatableTopic, services: Services) -> int:
    replicas, partitions = topic.replication_factor, topic.num_partitions
    if replicas < DEFAULT or replicas == 0:
        raise RequestRefused(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        )
    if partitions < DEFAULT or partitions == 0:
        raise RequestRefused(
            ErrorCode.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value."
        )
    if replicas > REPLICAS:
        raise RequestRefused(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {replicas} time(s): The target replication factor of {replicas} "
            f"cannot be reached because only {REPLICAS} broker(s) are registered.",
        )
    return services.config.num_partitions if partitions == DEFAULT else partitions


def _assigned_partitions(topic: CreatableTopic, services: Services) -> int:
    for value, name in ((topic.replication_factor, "replication factor"), (topic.num_partitions, "numPartitions")):
        if value != DEFAULT:
            raise RequestRefused(
                ErrorCode.INVALID_REQUEST,
                f"A manual partition assignment was specified, but {name} was not set to -1.",
            )
    assigned: set[int] = set()
    for assignment in topic.assignments:
        if assignment.partition_index in assigned:
            raise RequestRefused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Found multiple manual partition assignments for partition {assignment.partition_index}",
            )
        services.cluster.check_replicas(assignment.broker_ids)
        assigned.add(assignment.partition_index)
    if assigned != set(range(len(assigned))):
        raise RequestRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence"
        )
    return len(assigned)


def _configs_of(topic: CreatableTopic) -> dict[str, str]:
    configs: dict[str, str] = {}
    for config in topic.configs:
        if config.value is None:
            raise RequestRefused(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {config.name}")
        configs[config.name] = config.value
    return configs


def _failure(name: str, error: Exception) -> CreatableTopicResult:
    return CreatableTopicResult(name=name, error_code=code_of(error), error_message=message_of(error), configs=None)
