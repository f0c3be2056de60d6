"""CreateTopics v0-7 [L-17]: v1 validate only; v4 defaults for -1; v5 flexible, and the settings in the answer; v7
topic ids."""

from collections import Counter
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
from ..config import PARTITIONS_MAX
from ..errors import code_of, message_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.registry import Topic

DEFAULT = -1
REPLICAS = 1


def create_topics(
    context: RequestContext, services: Services, request: CreateTopicsRequest
) -> Pending[CreateTopicsResponse]:
    """Create what can be created; each topic is answered for itself, once its logs are there."""
    del context
    return _Creation(services, request).pending


class _Creation:
    """One request until each of its topics has an outcome."""

    def __init__(self, services: Services, request: CreateTopicsRequest) -> None:
        self._all_started = False
        self.pending: Pending[CreateTopicsResponse] = Pending()
        self._services = services
        self._validate_only = request.validate_only
        self._results: dict[str, CreatableTopicResult] = {}
        self._order = list(dict.fromkeys(topic.name for topic in request.topics))
        counts = Counter(topic.name for topic in request.topics)
        for topic in request.topics:
            if counts[topic.name] > 1:
                refused = RequestRefused(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
                self._results[topic.name] = _failure(topic.name, refused)
        for topic in request.topics:
            if counts[topic.name] == 1:
                self._start(topic)
        self._all_started = True
        self._finish_if_complete()

    def _start(self, topic: CreatableTopic) -> None:
        topics = self._services.topics
        try:
            # In Kafka's order: who creates what exists hears that first, whatever else is wrong.
            topics.check_name(topic.name)
            configs = spelled(_configs_of(topic))
            partitions = _partitions_of(topic, self._services)
            if self._validate_only:
                self._results[topic.name] = self._result(topic.name, partitions, configs)
                return

            def ended(outcome: Topic | Exception) -> None:
                if isinstance(outcome, Exception):
                    self._results[topic.name] = _failure(topic.name, outcome)
                else:
                    self._results[topic.name] = self._result(topic.name, partitions, configs, topic_id=outcome.topic_id)
                self._finish_if_complete()

            topics.create(topic.name, partitions=partitions, configs=configs, waiter=ended)
        except RequestRefused as error:
            self._results[topic.name] = _failure(topic.name, error)
        except ConfigError as error:
            refused = RequestRefused(ErrorCode.INVALID_CONFIG, str(error))
            self._results[topic.name] = _failure(topic.name, refused)

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

    def _finish_if_complete(self) -> None:
        if self._all_started and len(self._results) == len(self._order):
            self.pending(CreateTopicsResponse(topics=tuple(self._results[name] for name in self._order)))


def _partitions_of(topic: CreatableTopic, services: Services) -> int:
    """How many partitions are meant. Raises RequestRefused in Kafka's words."""
    partitions = _assigned_partitions(topic, services) if topic.assignments else _counted_partitions(topic, services)
    if partitions > PARTITIONS_MAX:
        raise RequestRefused(
            ErrorCode.INVALID_PARTITIONS, f"Number of partitions must not be larger than {PARTITIONS_MAX}."
        )
    return partitions


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
