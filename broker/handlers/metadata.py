"""Metadata v0-13: brokers, topics, partitions and who leads them.

v0 an empty list means all topics, from v1 on null does; v4 whether topics may be created; v9 flexible; v10 topic ids;
v12 looking up by id; v13 an error of the whole request (KIP-1102). A topic that is created by asking for it is answered
once it is ready, not with LEADER_NOT_AVAILABLE [L-16].
"""

from collections.abc import Sequence

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.metadata import (
    OPERATIONS_UNKNOWN,
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from ...protocol.primitives import ZERO_UUID
from ..errors import code_of
from ..metadata.cluster import OPERATIONS_ON_CLUSTER, OPERATIONS_ON_TOPIC
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.registry import Topic, check_legal_name

NULL_MEANS_ALL_SINCE = 1
AUTO_CREATE_FLAG_SINCE = 4
BY_ID_SINCE = 12
"""Ids stand in requests since v10, and are refused until then."""


def metadata(
    context: RequestContext, services: Services, request: MetadataRequest
) -> MetadataResponse | Pending[MetadataResponse]:
    """Answer for the topics asked for; a `Pending` while some are being created."""
    if request.topics is None or (context.version < NULL_MEANS_ALL_SINCE and not request.topics):
        operations = _on_topics(request)
        described = [_describe(services, topic, operations) for topic in services.topics]
        return _response(context, services, request, described)
    missing = _to_create(context, services, request)
    answer = _Answer(context, services, request)
    if not missing:
        return answer.response()
    return answer.after_creating(missing)


def _to_create(context: RequestContext, services: Services, request: MetadataRequest) -> list[str]:
    may_create = context.version < AUTO_CREATE_FLAG_SINCE or request.allow_auto_topic_creation
    if not may_create or not services.config.auto_create_topics_enable:
        return []
    asked = dict.fromkeys(topic.name for topic in request.topics or () if topic.name and topic.topic_id == ZERO_UUID)
    return [name for name in asked if services.topics.by_name(name) is None]


class _Answer:
    """A request whose topics may still have to be created."""

    def __init__(self, context: RequestContext, services: Services, request: MetadataRequest) -> None:
        self._context = context
        self._services = services
        self._request = request
        self._errors: dict[str, Exception] = {}
        self._outstanding = 0

    def after_creating(self, names: list[str]) -> MetadataResponse | Pending[MetadataResponse]:
        """Create topics with the broker's defaults, then answer."""
        pending: Pending[MetadataResponse] = Pending()
        self._outstanding = len(names) + 1
        for name in names:
            self._create(name, pending)
        self._one_less(pending)
        return pending

    def _create(self, name: str, pending: Pending[MetadataResponse]) -> None:
        def ended(outcome: Topic | Exception) -> None:
            if isinstance(outcome, Exception):
                self._errors[name] = outcome
            self._one_less(pending)

        topics = self._services.topics
        if topics.await_creation(name, ended):
            return
        partitions = self._services.config.num_partitions
        try:
            self._services.disk_space.admit_partitions(partitions)
            topics.create(name, partitions=partitions, configs={}, waiter=ended)
        except RequestRefused as error:
            ended(error)

    def _one_less(self, pending: Pending[MetadataResponse]) -> None:
        self._outstanding -= 1
        if self._outstanding == 0:
            pending(self.response())

    def response(self) -> MetadataResponse:
        """The answer, from what exists now; of a topic that is named twice once, as in Kafka."""
        topics = [self._topic(wanted) for wanted in dict.fromkeys(self._request.topics or ())]
        return _response(self._context, self._services, self._request, topics)

    def _topic(self, wanted: MetadataRequestTopic) -> MetadataResponseTopic:
        topics = self._services.topics
        name = wanted.name or ""
        if self._context.version < BY_ID_SINCE and (wanted.name is None or wanted.topic_id != ZERO_UUID):
            # Not before v12 can a response say that it knows no name.
            return MetadataResponseTopic(error_code=ErrorCode.INVALID_REQUEST, name=name, topic_id=wanted.topic_id)
        operations = _on_topics(self._request)
        error = self._errors.get(name)
        if error is None:
            try:
                return _describe(self._services, topics.find(name, wanted.topic_id), operations)
            except RequestRefused as refused:
                error = _illegal(wanted) or refused
        return MetadataResponseTopic(
            error_code=code_of(error),
            name=wanted.name,
            topic_id=wanted.topic_id,
            # As in Kafka also of a topic that is not there, unless not even its name is known.
            topic_authorized_operations=OPERATIONS_UNKNOWN if wanted.name is None else operations,
        )


def _on_topics(request: MetadataRequest) -> int:
    """What is told of the rights to a topic: to those who ask, from v8 on."""
    return OPERATIONS_ON_TOPIC if request.include_topic_authorized_operations else OPERATIONS_UNKNOWN


def _illegal(wanted: MetadataRequestTopic) -> RequestRefused | None:
    """What is wrong with a name that no topic can have: who waits for such a one to come into being waits for ever."""
    if wanted.name is not None and wanted.topic_id == ZERO_UUID:
        try:
            check_legal_name(wanted.name)
        except RequestRefused as refused:
            return refused
    return None


def _describe(services: Services, topic: Topic, operations: int) -> MetadataResponseTopic:
    return MetadataResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.is_internal,
        partitions=tuple(
            MetadataResponsePartition(
                partition_index=partition.index,
                leader_id=services.cluster.leader(topic.name, partition.index),
                leader_epoch=partition.leader_epoch,
                replica_nodes=(services.cluster.node_id,),
                isr_nodes=(services.cluster.node_id,),
                offline_replicas=(services.cluster.node_id,) if partition.is_lost else (),
            )
            for partition in topic.partitions
        ),
        topic_authorized_operations=operations,
    )


def _response(
    context: RequestContext, services: Services, request: MetadataRequest, topics: Sequence[MetadataResponseTopic]
) -> MetadataResponse:
    cluster = services.cluster
    return MetadataResponse(
        error_code=ErrorCode.NONE,
        brokers=tuple(
            MetadataResponseBroker(node_id=node.node_id, host=node.address.host, port=node.address.port)
            for node in cluster.nodes(context)
        ),
        cluster_id=cluster.cluster_id,
        controller_id=cluster.controller,
        topics=tuple(topics),
        cluster_authorized_operations=(
            OPERATIONS_ON_CLUSTER if request.include_cluster_authorized_operations else OPERATIONS_UNKNOWN
        ),
    )
