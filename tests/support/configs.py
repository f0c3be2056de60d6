"""Settings over the wire's messages: asking a broker in the test's loop to list and to change them."""

from collections.abc import Mapping, Sequence

from tidelog.broker.metadata.records import ResourceType
from tidelog.protocol.messages.alter_configs import AlterableConfig as Replacement
from tidelog.protocol.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse
from tidelog.protocol.messages.alter_configs import AlterConfigsResource as Replaced
from tidelog.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

from .house import House

TOPIC, BROKER, LOGGER = ResourceType.TOPIC, ResourceType.BROKER, ResourceType.BROKER_LOGGER
SET, DELETE, APPEND, SUBTRACT = range(4)
ALL_BROKERS, NODE = "", "1"

Outcome = tuple[int, str | None]
"""An error's code and message."""


def a_resource(kind: int, name: str, *keys: str) -> DescribeConfigsResource:
    """What is to be listed: of it these settings, or all."""
    return DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=keys or None)


async def described(house: House, *resources: DescribeConfigsResource) -> list[DescribeConfigsResult]:
    """The answers, with everything that can be asked for."""
    request = DescribeConfigsRequest(resources=resources, include_synonyms=True, include_documentation=True)
    response = await house.ask(request)
    assert isinstance(response, DescribeConfigsResponse)
    return list(response.results)


async def settings(house: House, kind: int, name: str) -> dict[str, DescribeConfigsResourceResult]:
    """Every setting of a resource that can be listed."""
    [result] = await described(house, a_resource(kind, name))
    assert (result.error_code, result.error_message, result.resource_name) == (0, "", name)
    return {config.name: config for config in result.configs}


def a_change(name: str, value: str | None = None, operation: int = SET) -> AlterableConfig:
    """Of one setting."""
    return AlterableConfig(name=name, config_operation=operation, value=value)


def changes(kind: int, name: str, *configs: AlterableConfig) -> AlterConfigsResource:
    """Of one resource."""
    return AlterConfigsResource(resource_type=kind, resource_name=name, configs=configs)


async def altered(house: House, *resources: AlterConfigsResource, validate_only: bool = False) -> list[Outcome]:
    """What became of each, by IncrementalAlterConfigs."""
    response = await house.ask(IncrementalAlterConfigsRequest(resources=resources, validate_only=validate_only))
    assert isinstance(response, IncrementalAlterConfigsResponse)
    asked = [(resource.resource_type, resource.resource_name) for resource in resources]
    assert [(result.resource_type, result.resource_name) for result in response.responses] == asked
    return [(result.error_code, result.error_message) for result in response.responses]


async def set_configs(house: House, kind: int, name: str, configs: Mapping[str, str]) -> None:
    """Set these, beside what is set already."""
    [outcome] = await altered(house, changes(kind, name, *(a_change(key, text) for key, text in configs.items())))
    assert outcome == (0, None)


def replacement(kind: int, name: str, configs: Sequence[tuple[str, str | None]]) -> Replaced:
    """All that one resource shall have."""
    return Replaced(
        resource_type=kind,
        resource_name=name,
        configs=tuple(Replacement(name=key, value=value) for key, value in configs),
    )


async def replaced(house: House, *resources: Replaced, validate_only: bool = False) -> list[Outcome]:
    """What became of each, by AlterConfigs."""
    response = await house.ask(AlterConfigsRequest(resources=resources, validate_only=validate_only))
    assert isinstance(response, AlterConfigsResponse)
    asked = [(resource.resource_type, resource.resource_name) for resource in resources]
    assert [(result.resource_type, result.resource_name) for result in response.responses] == asked
    return [(result.error_code, result.error_message) for result in response.responses]
