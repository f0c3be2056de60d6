"""CreateTopics v0-7 [L-17]: v1 validate only; v4 defaults for -1; v5 flexible, and the settings in the answer; v7
topic ids."""

from collections import Counter
from collections.abc import Mapping

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from ...storage.config import ConfigError, LogConfig
from ..config import PARTITIONS_MAX, ConfigSource
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
            partitions = _partitions_of(topic, self._services)
            configs = _configs_of(topic)
            if self._validate_only:
                topics.check_name(topic.name)
                self._results[topic.name] = _result(
                    topic.name, partitions, self._services.config.log.with_overrides(configs), configs
                )
                return

            def ended(outcome: Topic | Exception) -> None:
                if isinstance(outcome, Exception):
                    self._results[topic.name] = _failure(topic.name, outcome)
                else:
                    result = _result(topic.name, partitions, outcome.config, configs, topic=outcome)
                    self._results[topic.name] = result
                self._finish_if_complete()

            topics.create(topic.name, partitions=partitions, configs=configs, waiter=ended)
        except RequestRefused as error:
            self._results[topic.name] = _failure(topic.name, error)
        except ConfigError as error:
            refused = RequestRefused(ErrorCode.INVALID_CONFIG, str(error))
            self._results[topic.name] = _failure(topic.name, refused)

    def _finish_if_complete(self) -> None:
        if self._all_started and len(self._results) == len(self._order):
            self.pending(CreateTopicsResponse(topics=tuple(self._results[name] for name in self._order)))


def _partitions_of(topic: CreatableTopic, services: Services) -> int:
    """How many partitions are meant. Raises RequestRefused in Kafka's words."""
    if topic.assignments:
        return _assigned_partitions(topic, services.cluster.node_id)
    partitions = services.config.num_partitions if topic.num_partitions == DEFAULT else topic.num_partitions
    if partitions <= 0:
        raise RequestRefused(ErrorCode.INVALID_PARTITIONS, "Number of partitions must be larger than 0.")
    if partitions > PARTITIONS_MAX:
        raise RequestRefused(
            ErrorCode.INVALID_PARTITIONS, f"Number of partitions must not be larger than {PARTITIONS_MAX}."
        )
    if topic.replication_factor not in (DEFAULT, REPLICAS):
        if topic.replication_factor <= 0:
            message = "Replication factor must be larger than 0."
        else:
            message = (
                f"Unable to replicate the partition {topic.replication_factor} time(s): only 1 broker is registered."
            )
        raise RequestRefused(ErrorCode.INVALID_REPLICATION_FACTOR, message)
    return partitions


def _assigned_partitions(topic: CreatableTopic, node_id: int) -> int:
    if topic.num_partitions != DEFAULT or topic.replication_factor != DEFAULT:
        raise RequestRefused(
            ErrorCode.INVALID_REQUEST,
            "A manual partition assignment was specified, but the numbers of partitions and replicas were not both -1.",
        )
    if sorted(assignment.partition_index for assignment in topic.assignments) != list(range(len(topic.assignments))):
        raise RequestRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence"
        )
    if any(tuple(assignment.broker_ids) != (node_id,) for assignment in topic.assignments):
        raise RequestRefused(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"the only broker is {node_id}")
    if len(topic.assignments) > PARTITIONS_MAX:
        raise RequestRefused(
            ErrorCode.INVALID_PARTITIONS, f"Number of partitions must not be larger than {PARTITIONS_MAX}."
        )
    return len(topic.assignments)


def _configs_of(topic: CreatableTopic) -> dict[str, str]:
    configs: dict[str, str] = {}
    for config in topic.configs:
        if config.value is None:
            raise RequestRefused(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {config.name}")
        configs[config.name] = config.value
    return configs


def _result(
    name: str, partitions: int, config: LogConfig, overrides: Mapping[str, str], *, topic: Topic | None = None
) -> CreatableTopicResult:
    entries = tuple(
        CreatableTopicConfigs(
            name=key,
            value=value,
            config_source=ConfigSource.DYNAMIC_TOPIC_CONFIG if key in overrides else ConfigSource.DEFAULT_CONFIG,
        )
        for key, value in config.entries().items()
    )
    result = CreatableTopicResult(name=name, num_partitions=partitions, replication_factor=REPLICAS, configs=entries)
    if topic is None:
        return result
    return CreatableTopicResult(
        name=name, topic_id=topic.topic_id, num_partitions=partitions, replication_factor=REPLICAS, configs=entries
    )


def _failure(name: str, error: Exception) -> CreatableTopicResult:
    return CreatableTopicResult(name=name, error_code=code_of(error), error_message=message_of(error), configs=None)
