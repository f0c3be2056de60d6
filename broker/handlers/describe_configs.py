"""DescribeConfigs v1-4: v1 sources and synonyms (KIP-226); v3 types and documentation (KIP-569); v4 flexible."""

from collections import Counter
from collections.abc import Sequence

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)
from ...storage.config import ValueType
from ..config import ConfigSource
from ..config_listing import ConfigEntry, Synonym
from ..dynamic_configs import unknown_topic, unsupported
from ..errors import code_of, message_of
from ..log_levels import levels
from ..metadata.records import ResourceType
from ..request import RequestContext
from ..services import Services
from ..topics.registry import Topic, check_legal_name


def describe_configs(
    context: RequestContext, services: Services, request: DescribeConfigsRequest
) -> DescribeConfigsResponse:
    """List the settings of each resource, or why they cannot be listed."""
    del context
    listing = _Listing(services, request)
    return DescribeConfigsResponse(results=tuple(listing.result(one) for one in request.resources))


class _Listing:
    """One request. Topics that say the same are listed once: most say nothing, and there may be thousands."""

    def __init__(self, services: Services, request: DescribeConfigsRequest) -> None:
        self._services = services
        self._request = request
        self._node_id = str(services.cluster.node_id)
        self._counts = Counter((one.resource_type, one.resource_name) for one in request.resources)
        self._of_topics: dict[frozenset[tuple[str, str]], tuple[DescribeConfigsResourceResult, ...]] = {}

    def result(self, resource: DescribeConfigsResource) -> DescribeConfigsResult:
        """The settings of one resource, or why they cannot be listed."""
        kind, name = resource.resource_type, resource.resource_name
        try:
            if self._counts[kind, name] > 1:
                # Kafka would list it each time: a small request, and an answer of gigabytes. No client means that.
                raise _bad_request("Each resource must appear at most once.")
            configs = self._configs(kind, name)
        except RequestRefused as error:
            return DescribeConfigsResult(
                error_code=code_of(error), error_message=message_of(error), resource_type=kind, resource_name=name
            )
        wanted = frozenset(resource.configuration_keys or ())
        if wanted:  # in Kafka no names, like an empty list of them, are all
            configs = tuple(config for config in configs if config.name in wanted)
        return DescribeConfigsResult(resource_type=kind, resource_name=name, configs=configs)

    def _configs(self, kind: int, name: str) -> tuple[DescribeConfigsResourceResult, ...]:
        """Every setting of a resource. Raises RequestRefused in Kafka's words."""
        services, node_id = self._services, self._node_id
        match kind:
            case ResourceType.TOPIC:
                check_legal_name(name)
                topic = services.topics.by_name(name)
                if topic is None:
                    raise unknown_topic(name)
                return self._of_topic(topic)
            case ResourceType.BROKER:
                if not name:
                    return self._described(services.configs.all_brokers_entries())
                _check_node(name, node_id, f"{node_id} or empty string,")
                return self._described(services.configs.broker_entries())
            case ResourceType.BROKER_LOGGER:
                if not name:
                    raise _bad_request("Broker id must not be empty")
                _check_node(name, node_id, node_id)
                return self._described([_logger_entry(logger, level) for logger, level in levels().items()])
            case ResourceType.GROUP:
                if not name:
                    raise _bad_request("Group name must not be empty")
                return self._described(services.configs.group_entries(name))
            case ResourceType.CLIENT_METRICS:
                raise unsupported(kind)
            case _:
                raise _bad_request(f"Unexpected resource type {kind} for resource {name}")

    def _of_topic(self, topic: Topic) -> tuple[DescribeConfigsResourceResult, ...]:
        key = frozenset((*topic.configs.items(), ("", topic.name if topic.is_internal else "")))
        if key not in self._of_topics:
            entries = self._services.configs.topic_entries(topic.configs, name=topic.name)
            self._of_topics[key] = self._described(entries)
        return self._of_topics[key]

    def _described(self, entries: Sequence[ConfigEntry]) -> tuple[DescribeConfigsResourceResult, ...]:
        return tuple(_described(entry, self._request) for entry in entries)


def _check_node(name: str, node_id: str, expected: str) -> None:
    if not name.removeprefix("-").isdecimal():
        raise _bad_request(f"Broker id must be an integer, but it is: {name}")
    if name != node_id:
        raise _bad_request(f"Unexpected broker id, expected {expected} but received {name}")


def _logger_entry(logger: str, level: str) -> ConfigEntry:
    return ConfigEntry(
        name=logger,
        read_only=False,
        value_type=ValueType.STRING,
        text="The least severe messages that are logged.",
        synonyms=(Synonym(logger, level, ConfigSource.DYNAMIC_BROKER_LOGGER_CONFIG),),
    )


def _described(entry: ConfigEntry, request: DescribeConfigsRequest) -> DescribeConfigsResourceResult:
    synonyms: Sequence[Synonym] = entry.synonyms if request.include_synonyms else ()
    return DescribeConfigsResourceResult(
        name=entry.name,
        value=entry.value,
        read_only=entry.read_only,
        config_source=entry.source,
        synonyms=tuple(DescribeConfigsSynonym(name=one.name, value=one.value, source=one.source) for one in synonyms),
        config_type=entry.value_type,
        documentation=entry.text if request.include_documentation else None,
    )


def _bad_request(message: str) -> RequestRefused:
    return RequestRefused(ErrorCode.INVALID_REQUEST, message)
