"""UpdateFeatures v0-2: the levels of the cluster's features (KIP-584). v1 kinds of downgrade, and trying only
(KIP-778); v2 one result for all.

No level can be chosen yet (`features`): asking for what is so succeeds, whatever else is asked for is refused, and
with it the whole request.
"""

from ...protocol.errors import ErrorCode
from ...protocol.messages.update_features import (
    FeatureUpdateKey,
    UpdatableFeatureResult,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)
from ..errors import MESSAGE_LENGTH_MAX
from ..features import FEATURES
from ..request import RequestContext
from ..services import Services

UPGRADE_TYPES = (1, 2, 3)
"""Up only; down if nothing is lost by it; down in any case."""


def update_features(
    context: RequestContext, services: Services, request: UpdateFeaturesRequest
) -> UpdateFeaturesResponse:
    """Refuse what would be a change."""
    del context
    for update in request.feature_updates:
        reason = _refusal(update, services)
        if reason is not None:
            message = (
                "The update failed for all features since the following feature had an error: Invalid update version "
                f"{update.max_version_level} for feature {update.feature}. {reason}"
            )
            return UpdateFeaturesResponse(
                error_code=ErrorCode.INVALID_UPDATE_VERSION, error_message=message[:MESSAGE_LENGTH_MAX]
            )
    return UpdateFeaturesResponse(
        error_message=None,
        results=tuple(
            UpdatableFeatureResult(feature=update.feature, error_message=None) for update in request.feature_updates
        ),
    )


def _refusal(update: FeatureUpdateKey, services: Services) -> str | None:
    """Why a level cannot be had, in Kafka's words and order; None if it is the present one."""
    if update.upgrade_type not in UPGRADE_TYPES:
        return "The controller does not support the given upgrade type."
    if update.max_version_level < 0:
        return "A feature version cannot be less than 0."
    controller = f"Local controller {services.cluster.controller}"
    feature = next((feature for feature in FEATURES if feature.name == update.feature), None)
    if feature is None:
        return f"{controller} does not support this feature."
    if update.max_version_level != feature.level:
        return f"{controller} only supports versions {feature.level}"
    return None
