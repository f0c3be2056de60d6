"""DeleteTopics v0-6: v4 flexible; v5 error messages; v6 by id."""

from collections import Counter
from uuid import UUID

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)
from ...protocol.primitives import ZERO_UUID
from ..errors import code_of, message_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.registry import Topic


def delete_topics(
    context: RequestContext, services: Services, request: DeleteTopicsRequest
) -> Pending[DeleteTopicsResponse]:
    """Delete each topic; answered once all deletions are durable."""
    del context
    wanted = list(request.topics) or [DeleteTopicState(name=name) for name in request.topic_names]
    return _Deletion(services, wanted).pending


class _Deletion:
    """One request until each of its topics has an outcome."""

    def __init__(self, services: Services, wanted: list[DeleteTopicState]) -> None:
        self._all_started = False
        self.pending: Pending[DeleteTopicsResponse] = Pending()
        self._services = services
        self._results: list[DeletableTopicResult | None] = [None] * len(wanted)
        counts = Counter(self._key(state) for state in wanted)
        for position, state in enumerate(wanted):
            if counts[self._key(state)] > 1:
                kind = "id" if state.name is None else "name"
                refused = RequestRefused(ErrorCode.INVALID_REQUEST, f"Duplicate topic {kind}.")
                self._results[position] = _failure(state, refused)
            else:
                self._start(position, state)
        self._all_started = True
        self._finish_if_complete()

    def _key(self, state: DeleteTopicState) -> UUID | str:
        """One topic, one key, whether it is meant by name or by id."""
        topic = self._services.topics.by_name(state.name or "")
        return topic.topic_id if topic is not None else (state.name or state.topic_id)

    def _start(self, position: int, state: DeleteTopicState) -> None:
        def ended(outcome: Topic | Exception) -> None:
            if isinstance(outcome, Exception):
                self._results[position] = _failure(state, outcome)
            else:
                self._results[position] = DeletableTopicResult(name=outcome.name, topic_id=outcome.topic_id)
            self._finish_if_complete()

        try:
            if state.name is not None and state.topic_id != ZERO_UUID:
                raise RequestRefused(ErrorCode.INVALID_REQUEST, "You may not specify both topic name and topic id.")
            if state.name is None and state.topic_id == ZERO_UUID:
                raise RequestRefused(ErrorCode.INVALID_REQUEST, "Neither topic name nor id were specified.")
            topic = self._services.topics.find(state.name or "", state.topic_id)
            if topic.is_internal:
                # In Kafka whoever has the right may: with it go the offsets of every group, and no group works after.
                raise RequestRefused(
                    ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{topic.name}' is internal: only the broker deletes it"
                )
        except RequestRefused as error:
            self._results[position] = _failure(state, error)
            return
        self._services.topics.delete(topic, ended)

    def _finish_if_complete(self) -> None:
        results = [result for result in self._results if result is not None]
        if self._all_started and len(results) == len(self._results):
            self.pending(DeleteTopicsResponse(responses=tuple(results)))


def _failure(state: DeleteTopicState, error: Exception) -> DeletableTopicResult:
    return DeletableTopicResult(
        name=state.name, topic_id=state.topic_id, error_code=code_of(error), error_message=message_of(error)
    )
