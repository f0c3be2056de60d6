"""CreatePartitions v0-3 [L-17]: partitions are added, never taken away. v2 flexible; v3 may answer a used-up quota."""

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
from ..each_topic import EachTopic
from ..errors import code_of, message_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.registry import Topic


def create_partitions(
    context: RequestContext, services: Services, request: CreatePartitionsRequest
) -> Pending[CreatePartitionsResponse]:
    """Let grow what can grow; each topic is answered for itself, once the fact of it is durable."""
    del context
    return _Growth(services, request).pending


class _Growth:
    """One request until each of its topics has an outcome."""

    def __init__(self, services: Services, request: CreatePartitionsRequest) -> None:
        self._services = services
        self._validate_only = request.validate_only
        self._results = EachTopic(
            [topic.name for topic in request.topics],
            timeout_ms=request.timeout_ms,
            failure=_failure,
            answer=lambda results: CreatePartitionsResponse(results=results),
        )
        self._results.start(
            request.topics, partitions=lambda topic: _partitions_asked(topic, services), begin=self._start
        )

    @property
    def pending(self) -> Pending[CreatePartitionsResponse]:
        """The answer."""
        return self._results.pending

    def _start(self, wanted: CreatePartitionsTopic) -> None:
        topics = self._services.topics

        def ended(outcome: Topic | Exception) -> None:
            if isinstance(outcome, Exception):
                self._results.fail(wanted.name, outcome)
            else:
                self._results.end(wanted.name, CreatePartitionsTopicResult(name=wanted.name))

        try:
            topic = topics.find(wanted.name, ZERO_UUID)
            self._services.growth.check(topic, wanted.count)
            added = wanted.count - len(topic.partitions)
            if wanted.assignments is not None:
                _check_assignments(wanted.assignments, added=added, services=self._services)
            if not self._validate_only:
                self._services.disk_space.admit_partitions(added)
        except RequestRefused as refused:
            self._results.fail(wanted.name, refused)
            return
        if self._validate_only:
            self._results.end(wanted.name, CreatePartitionsTopicResult(name=wanted.name))
        else:
            self._services.growth.grow(topic, wanted.count, ended)


def _partitions_asked(wanted: CreatePartitionsTopic, services: Services) -> int:
    """How many partitions a topic would get by the request, be they legal or not."""
    topic = services.topics.by_name(wanted.name)
    return 0 if topic is None else max(wanted.count - len(topic.partitions), 0)


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


def _failure(name: str, error: Exception) -> CreatePartitionsTopicResult:
    return CreatePartitionsTopicResult(name=name, error_code=code_of(error), error_message=message_of(error))
