"""IncrementalAlterConfigs v0-1: changes single settings of resources (KIP-339); v1 flexible."""

from ...protocol.messages.incremental_alter_configs import (
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from ..dynamic_configs import Alteration, Change, Outcomes, Resource
from ..errors import outcome_of
from ..request import Pending, RequestContext
from ..services import Services


def incremental_alter_configs(
    context: RequestContext, services: Services, request: IncrementalAlterConfigsRequest
) -> Pending[IncrementalAlterConfigsResponse]:
    """Change each resource, all that is asked of it or nothing; answered once all that can be is durable."""
    del context
    pending: Pending[IncrementalAlterConfigsResponse] = Pending()

    def ended(outcomes: Outcomes) -> None:
        responses = []
        for resource, error in zip(request.resources, outcomes, strict=True):
            code, message = outcome_of(error)
            responses.append(
                AlterConfigsResourceResponse(
                    error_code=code,
                    error_message=message,
                    resource_type=resource.resource_type,
                    resource_name=resource.resource_name,
                )
            )
        pending(IncrementalAlterConfigsResponse(responses=tuple(responses)))

    alterations = [
        Alteration(
            resource=Resource(resource.resource_type, resource.resource_name),
            changes=[Change(config.name, config.config_operation, config.value) for config in resource.configs],
        )
        for resource in request.resources
    ]
    services.configs.alter(alterations, validate_only=request.validate_only, waiter=ended)
    return pending
