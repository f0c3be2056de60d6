"""DescribeLag (tide wire only): how far groups are behind, told by the broker, which knows both ends of the way."""

import asyncio

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.describe_lag import DescribeLagRequest, DescribeLagResponse, GroupLag
from ..coordinator.runtime import CoordinatorRuntime
from ..group_lag import Lags, Measurement, Wanted
from ..request import Pending, RequestContext
from ..services import Services
from ..turns import InTurns


def describe_lag(
    context: RequestContext, services: Services, request: DescribeLagRequest
) -> DescribeLagResponse | Pending[DescribeLagResponse]:
    """Measure, a turn of the loop at a time; at once if one turn is enough."""
    del context
    try:
        shards = services.groups.shards()
    except RequestRefused as error:
        return DescribeLagResponse(error_code=error.code)
    group_ids, topics = request.group_ids, request.topics
    wanted = Wanted(
        group_ids=None if group_ids is None else frozenset(group_ids),
        topics=None if topics is None else frozenset(topics),
    )
    measurement = Measurement(
        shards, services.topics, services.first_unread, now_ms=services.environment.now_ms(), wanted=wanted
    )
    run = measurement.run()
    try:
        next(run)
    except StopIteration as end:
        return _answer(services.groups, request, end.value)
    return _later(services.groups, request, run)


def _later(groups: CoordinatorRuntime, request: DescribeLagRequest, run: InTurns[Lags]) -> Pending[DescribeLagResponse]:
    loop = asyncio.get_running_loop()

    def turn() -> None:
        try:
            next(run)
        except StopIteration as end:
            if end.value is not None:  # else it was closed: nobody waits any more
                pending(_answer(groups, request, end.value))
        else:
            loop.call_soon(turn)

    pending: Pending[DescribeLagResponse] = Pending(on_abandon=run.close)
    loop.call_soon(turn)
    return pending


def _answer(groups: CoordinatorRuntime, request: DescribeLagRequest, lags: Lags) -> DescribeLagResponse:
    unavailable = tuple(groups.unavailable())
    if request.group_ids is None:
        code = ErrorCode.COORDINATOR_NOT_AVAILABLE if unavailable else ErrorCode.NONE
        return DescribeLagResponse(error_code=code, groups=tuple(lags), unavailable_partitions=unavailable)
    found = {lag.group_id: lag for lag in lags}
    return DescribeLagResponse(
        groups=tuple(
            found.get(group_id) or _missing(group_id, is_unavailable=groups.is_unavailable(group_id))
            for group_id in dict.fromkeys(request.group_ids)
        ),
        unavailable_partitions=unavailable,
    )


def _missing(group_id: str, *, is_unavailable: bool) -> GroupLag:
    if is_unavailable:
        return GroupLag(group_id=group_id, error_code=ErrorCode.COORDINATOR_NOT_AVAILABLE)
    return GroupLag(
        group_id=group_id, error_code=ErrorCode.GROUP_ID_NOT_FOUND, error_message=f"Group {group_id} not found."
    )
