"""CreatePartitions v0-3 [L-17]: partitions are added, never taken away. v2 flexible; v3 may answer a used-up quota."""

from collections import Counter
from collections.abc import Sequence

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from ...protocol.primitives import ZERO_UUID
from ..errors import code_of, message_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.registry import Topic


def create_partitions(
    context: RequestContext, services: Services, request: CreatePartitionsRequest
) -> Pending[CreatePartitionsResponse]:
    """Let grow what can grow; each topic is answered for itself, once its new logs are there."""
    del context
    return _Growth(services, request).pending


class _Growth:
    """One request until each of its topics has an outcome."""

    def __init__(self, services: Services, request: CreatePartitionsRequest) -> None:
        self.pending: Pending[CreatePartitionsResponse] = Pending()
        self._services = services
        self._validate_only = request.validate_only
        self._results: dict[str, CreatePartitionsTopicResult] = {}
        counts = Counter(topic.name for topic in request.topics)
        self._order = list(counts)
        self._all_started = False
        for topic in request.topics:
            if counts[topic.name] > 1:
                self._end(topic.name, RequestRefused(ErrorCode.INVALID_REQUEST, "Duplicate topic name."))
            else:
                self._start(topic)
        self._all_started = True
        self._finish_if_complete()

    def _start(self, wanted: CreatePartitionsTopic) -> None:
        topics = self._services.topics

        def ended(outcome: Topic | Exception) -> None:
            self._end(wanted.name, outcome if isinstance(outcome, Exception) else None)
            self._finish_if_complete()

        try:
            topic = topics.find(wanted.name, ZERO_UUID)
            self._services.growth.check(topic, wanted.count)
            if wanted.assignments is not None:
                added = wanted.count - len(topic.partitions)
                _check_assignments(wanted.assignments, added=added, services=self._services)
        except RequestRefused as refused:
            self._end(wanted.name, refused)
            return
        if self._validate_only:
            self._end(wanted.name, None)
        else:
            self._services.growth.grow(topic, wanted.count, ended)

    def _end(self, name: str, error: Exception | None) -> None:
        if error is None:
            self._results[name] = CreatePartitionsTopicResult(name=name)
        else:
            self._results[name] = CreatePartitionsTopicResult(
                name=name, error_code=code_of(error), error_message=message_of(error)
            )

    def _finish_if_complete(self) -> None:
        if self._all_started and len(self._results) == len(self._order):
            self.pending(CreatePartitionsResponse(results=tuple(self._results[name] for name in self._order)))


def _check_assignments(assignments: Sequence[CreatePartitionsAssignment], *, added: int, services: Services) -> None:
    """Each new partition has its nodes. Raises RequestRefused(INVALID_REPLICA_ASSIGNMENT) in Kafka's words."""
    if len(assignments) != added:
        raise RequestRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"Attempted to add {added} additional partition(s), but only {len(assignments)} assignment(s) "
            "were specified.",
        )
    for assignment in assignments:
        services.cluster.check_replicas(assignment.broker_ids)
