"""Produce v3-13: append record batches, a batch a partition.

v7 allows zstd; v8 adds errors of single records; v9 is flexible; v10 hints at leaders (KIP-951); v13 names topics by
id. acks=0 has no answer: on an error the connection is closed, so that the client looks again
(KafkaApis.handleProduceRequest). acks=1 is answered when the page cache has the batch, acks=all when the disk has it.
"""

from uuid import UUID

from ...protocol.batch import HEADER_SIZE, TRANSACTIONAL
from ...protocol.compression import Codec
from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.produce import (
    BatchIndexAndErrorMessage,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from ..errors import ANSWERABLE, code_of, message_of
from ..request import NO_RESPONSE, NoResponse, Pending, RequestContext
from ..services import Services
from ..topics.produced_batch import RecordsRefused

ACKS_NONE = 0
ACKS_LEADER = 1
ACKS_ALL = -1
ZSTD_SINCE = 7
CODEC_POSITION = 22
"""The low byte of a batch's attributes."""
CODEC_MASK = 0x07
NO_OFFSET = -1


class _Outcome:
    """What becomes of one partition's batch."""

    __slots__ = ("_answer", "_refusal", "base_offset", "index", "log_append_time_ms", "log_start_offset")

    def __init__(self, answer: "_Answer", index: int) -> None:
        self.index = index
        self.base_offset = NO_OFFSET
        self.log_append_time_ms = -1
        self.log_start_offset = -1
        self._refusal: PartitionProduceResponse | None = None
        self._answer = answer

    def __call__(self, error: Exception | None) -> None:
        """The append's waiter. The error is not kept: it holds the frames that raised it, and they hold the batch."""
        if error is not None:
            self._refusal = _refusal(self.index, error)
        self._answer.settled(error)

    def response(self) -> PartitionProduceResponse:
        """As the client hears it."""
        if self._refusal is not None:
            return self._refusal
        return PartitionProduceResponse(
            index=self.index,
            base_offset=self.base_offset,
            log_append_time_ms=self.log_append_time_ms,
            log_start_offset=self.log_start_offset,
        )


def _refusal(index: int, error: Exception) -> PartitionProduceResponse:
    return PartitionProduceResponse(
        index=index,
        error_code=code_of(error),
        base_offset=NO_OFFSET,
        record_errors=_record_errors(error),
        error_message=message_of(error),
    )


def _record_errors(error: Exception) -> tuple[BatchIndexAndErrorMessage, ...]:
    if not isinstance(error, RecordsRefused):
        return ()
    return tuple(
        BatchIndexAndErrorMessage(batch_index=index, batch_index_error_message=message)
        for index, message in error.record_errors
    )


class _Answer:
    """A produce request until all of its partitions are settled.

    Of the request it keeps the names alone, and nothing once it has answered: else the batches, which may be a hundred
    mebibytes, would stay until the garbage collector finds the circle of answer and outcomes.
    """

    def __init__(self, context: RequestContext, request: ProduceRequest) -> None:
        self.pending: Pending[ProduceResponse | NoResponse] = Pending(holds_connection=False)
        self._context = context
        self._acks = request.acks
        self._topics: list[tuple[str, UUID, list[_Outcome]]] = []
        self._unsettled = 0

    def add(self, topic: TopicProduceData) -> list[_Outcome]:
        """The outcomes to come of one topic's partitions."""
        outcomes = [_Outcome(self, partition.index) for partition in topic.partition_data]
        self._topics.append((topic.name, topic.topic_id, outcomes))
        self._unsettled += len(outcomes)
        return outcomes

    def settled(self, error: Exception | None) -> None:
        """One more partition is."""
        self._unsettled -= 1
        if self._acks == ACKS_NONE and error is not None:
            self._context.requester.close(f"acks=0 produce failed: {code_of(error).name}")
        if self._unsettled == 0:
            response = NO_RESPONSE if self._acks == ACKS_NONE else self.response()
            self._topics.clear()
            self.pending(response)

    def response(self) -> ProduceResponse:
        """The whole answer."""
        return ProduceResponse(
            responses=tuple(
                TopicProduceResponse(
                    name=name,
                    topic_id=topic_id,
                    partition_responses=tuple(outcome.response() for outcome in outcomes),
                )
                for name, topic_id, outcomes in self._topics
            )
        )


def produce(
    context: RequestContext, services: Services, request: ProduceRequest
) -> Pending[ProduceResponse | NoResponse] | ProduceResponse | NoResponse:
    """Stage every batch; the answer comes when each is as safe as asked."""
    answer = _Answer(context, request)
    work = [(topic, answer.add(topic)) for topic in request.topic_data]
    if not any(outcomes for _, outcomes in work):
        return NO_RESPONSE if request.acks == ACKS_NONE else answer.response()
    if request.transactional_id is None and any(map(_is_transactional, request.topic_data)):
        # KafkaApis.handleProduceRequest: nobody may write for a transactional id that is not named [B-17].
        refused = RequestRefused(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "no transactional id is named")
        for _, outcomes in work:
            for outcome in outcomes:
                outcome(refused)
        return answer.pending
    append = _Appender(context, services, request.acks)
    for topic, outcomes in work:
        for data, outcome in zip(topic.partition_data, outcomes, strict=True):
            try:
                append(topic, data, outcome)
            except ANSWERABLE as error:
                outcome(error)
    return answer.pending


def _is_transactional(topic: TopicProduceData) -> bool:
    """Whether some batch says that it belongs to a transaction."""
    return any(
        data.records is not None and len(data.records) >= HEADER_SIZE and data.records[CODEC_POSITION] & TRANSACTIONAL
        for data in topic.partition_data
    )


class _Appender:
    """Appends batches under the circumstances that all partitions of a request share."""

    __slots__ = ("_acks", "_disk_space", "_now_ms", "_topics", "_version")

    def __init__(self, context: RequestContext, services: Services, acks: int) -> None:
        self._topics = services.topics
        self._disk_space = services.disk_space
        self._version = context.version
        self._acks = acks
        self._now_ms = services.environment.now_ms()

    def __call__(self, topic_data: TopicProduceData, data: PartitionProduceData, outcome: _Outcome) -> None:
        """In Kafka's order: acks, existence, shape, append [B-1, B-18, B-2, B-3]. Raises what ANSWERABLE lists.

        Space is asked for before the batch is looked into: on a full disk a retry costs next to nothing.
        """
        if self._acks not in (ACKS_NONE, ACKS_LEADER, ACKS_ALL):
            raise RequestRefused(ErrorCode.INVALID_REQUIRED_ACKS, f"acks is -1, 0 or 1, not {self._acks}")
        topic = self._topics.find(topic_data.name, topic_data.topic_id)
        if topic.is_internal:
            raise RequestRefused(ErrorCode.INVALID_TOPIC_EXCEPTION, f"{topic.name} is written by the broker alone")
        partition = self._topics.partition(topic, data.index)
        records = data.records
        if not records:
            raise RequestRefused(ErrorCode.INVALID_RECORD, "a partition takes exactly one record batch a request")
        assert isinstance(records, memoryview), "a decoded message holds views of its frame"
        if (
            self._version < ZSTD_SINCE
            and len(records) >= HEADER_SIZE
            and records[CODEC_POSITION] & CODEC_MASK == Codec.ZSTD
        ):
            raise RequestRefused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, "zstd needs Produce v7 or newer")
        self._disk_space.admit(len(records))
        base_offset, append_time_ms = partition.append(records, acks=self._acks, now_ms=self._now_ms, waiter=outcome)
        outcome.base_offset = base_offset
        outcome.log_append_time_ms = append_time_ms
        outcome.log_start_offset = partition.log_start_offset
