"""AlterConfigs v0-2: replaces all settings of a resource; v2 flexible. Superseded by IncrementalAlterConfigs."""

from ...protocol.messages.alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
)
from ..dynamic_configs import Alteration, Change, Operation, Outcomes, Resource
from ..errors import outcome_of
from ..request import Pending, RequestContext
from ..services import Services


def alter_configs(
    context: RequestContext, services: Services, request: AlterConfigsRequest
) -> Pending[AlterConfigsResponse]:
    """Replace the settings of each resource; answered once all that can be is durable."""
    del context
    pending: Pending[AlterConfigsResponse] = Pending()

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
        pending(AlterConfigsResponse(responses=tuple(responses)))

    alterations = [
        Alteration(
            resource=Resource(resource.resource_type, resource.resource_name),
            changes=[Change(config.name, Operation.SET, config.value) for config in resource.configs],
            replaces=True,
        )
        for resource in request.resources
    ]
    services.configs.alter(alterations, validate_only=request.validate_only, waiter=ended)
    return pending
