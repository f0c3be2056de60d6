"""ApiVersions v0-4: which APIs are served, in which versions (KIP-35, KIP-511).

v3 brings the client's software name and version, flexible encoding, and the features that are switched on
(`features`); the response header stays at version 0 for ever.
"""

import re

from ...protocol.apis import KAFKA_APIS
from ...protocol.errors import ErrorCode
from ...protocol.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)
from ..features import EPOCH, FEATURES
from ..request import RequestContext
from ..services import Services

SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?", re.ASCII)
NAMED_SINCE = 3
SOFTWARE_LENGTH_MAX = 100


def api_versions(context: RequestContext, services: Services, request: ApiVersionsRequest) -> ApiVersionsResponse:
    """Answer with everything that is served on the Kafka wire: the tide wire has no versions to agree on."""
    del services
    if context.version >= NAMED_SINCE and not (
        SOFTWARE.fullmatch(request.client_software_name) and SOFTWARE.fullmatch(request.client_software_version)
    ):
        return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
    if context.version >= NAMED_SINCE:
        software = f"{request.client_software_name}/{request.client_software_version}"
        context.requester.software = software[:SOFTWARE_LENGTH_MAX]
    return ApiVersionsResponse(
        api_keys=SERVED, supported_features=SUPPORTED, finalized_features_epoch=EPOCH, finalized_features=FINALIZED
    )


def unsupported() -> ApiVersionsResponse:
    """The answer to a version of ApiVersions itself that is newer than ours (kafka.md 1b.1)."""
    own = tuple(entry for entry in SERVED if entry.api_key == API_VERSIONS_KEY)
    return ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=own)


SERVED = tuple(
    ApiVersion(api_key=int(key), min_version=api.advertised_min, max_version=api.versions.max)
    for key, api in sorted(KAFKA_APIS.items())
)
SUPPORTED = tuple(
    SupportedFeatureKey(name=feature.name, min_version=feature.level, max_version=feature.level) for feature in FEATURES
)
FINALIZED = tuple(
    FinalizedFeatureKey(name=feature.name, max_version_level=feature.level, min_version_level=feature.level)
    for feature in FEATURES
)
API_VERSIONS_KEY = 18
