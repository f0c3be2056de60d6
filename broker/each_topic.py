"""EachTopic: an answer with one result for each topic, given when all of them are there or the time is up.

The time that a client gives is how long it waits, not how long the work may take: a topic that is not finished by then
is answered with REQUEST_TIMED_OUT, and its work goes on to its end, of which this request does not hear any more.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from ..protocol.errors import ErrorCode, RequestRefused
from .config import PARTITIONS_MAX
from .request import Pending

PARTITIONS_OF_A_REQUEST_MAX = 10_000
"""Kafka's limit on what one request may create."""

assert PARTITIONS_OF_A_REQUEST_MAX <= PARTITIONS_MAX, "who may create a topic's partitions at once may have them"


class Named(Protocol):
    """A topic in a request."""

    @property
    def name(self) -> str:
        """Its name."""


T = TypeVar("T", bound=Named)
R = TypeVar("R")
A = TypeVar("A")


class EachTopic(Generic[R, A]):
    """The results of one request, by topic."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        timeout_ms: int,
        failure: Callable[[str, Exception], R],
        answer: Callable[[tuple[R, ...]], A],
    ) -> None:
        """`failure` makes the result of a topic that failed, `answer` a response of all, in the order of `names`."""
        self.pending: Pending[A] = Pending(on_abandon=self._stop_timer)
        self._names = tuple(dict.fromkeys(names))
        self._results: dict[str, R] = {}
        self._failure = failure
        self._answer = answer
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        if timeout_ms > 0:
            # No time at all is no limit here, though Kafka's controller calls the work late at once. It would be a lie:
            # the work is done by this node in a moment, and whoever gave no time wants to know what became of it.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout_ms / 1000, self._time_is_up, timeout_ms)
        self._finish_if_complete()

    def start(self, topics: Iterable[T], *, partitions: Callable[[T], int], begin: Callable[[T], None]) -> None:
        """Begin the work on every topic of a request that creates partitions, unless the request asks for too much.

        `partitions` says how many a topic asks for. A topic that stands in the request twice is refused.
        """
        counts = Counter(topic.name for topic in topics)
        once = [topic for topic in topics if counts[topic.name] == 1]
        if sum(map(partitions, once)) > PARTITIONS_OF_A_REQUEST_MAX:
            # In Kafka's order: before anything is looked at that a single topic could be refused for.
            refused = RequestRefused(ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
            for name in self._names:
                self.fail(name, refused)
            return
        for name, count in counts.items():
            if count > 1:
                self.fail(name, RequestRefused(ErrorCode.INVALID_REQUEST, "Duplicate topic name."))
        for topic in once:
            begin(topic)

    def end(self, name: str, result: R) -> None:
        """The one result of a topic. Too late, it is nobody's any more."""
        if self._is_over:
            return
        assert name not in self._results, "a topic was answered twice"
        self._results[name] = result
        self._finish_if_complete()

    def fail(self, name: str, error: Exception) -> None:
        """A topic ends with an error."""
        self.end(name, self._failure(name, error))

    def _time_is_up(self, timeout_ms: int) -> None:
        late = RequestRefused(
            ErrorCode.REQUEST_TIMED_OUT, f"The request timed out after {timeout_ms} ms; the work on the topic goes on."
        )
        for name in self._names:
            if name not in self._results:
                self.fail(name, late)

    def _finish_if_complete(self) -> None:
        if len(self._results) == len(self._names):
            self._is_over = True
            self._stop_timer()
            self.pending(self._answer(tuple(self._results[name] for name in self._names)))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
