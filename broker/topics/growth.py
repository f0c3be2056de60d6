"""Growth: topics get more partitions, and never fewer [L-17].

First the new logs, one a turn of the loop, then the durable fact, then all the new partitions are seen at once. If that
fails in the middle, nothing has changed and whoever asked hears why; the logs that are there already serve the next
growth, a retry for one. A start removes those that no fact tells of.

Growths of one topic follow each other, and each is checked when its turn comes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from uuid import UUID

from ...protocol.errors import ErrorCode, RequestRefused
from ...storage.errors import StorageError
from ..config import PARTITIONS_MAX
from ..metadata.records import PartitionsAdded
from ..metadata.store import MetadataStore
from .registry import Topic, Topics, TopicWaiter, What

logger = logging.getLogger(__name__)


class Growth:
    """Adds partitions to topics."""

    def __init__(self, topics: Topics, store: MetadataStore) -> None:
        self._topics = topics
        self._store = store
        self._turns: dict[UUID, deque[Callable[[], None]]] = {}
        """Topics under growth: the growth that is at work, and those that wait for their turn."""

    def check(self, topic: Topic, partitions: int) -> None:
        """Whether a topic may have so many partitions. Raises RequestRefused in Kafka's words."""
        present = len(topic.partitions)
        if topic.is_internal:
            raise RequestRefused(
                ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{topic.name}' is internal: only the broker changes it"
            )
        if partitions == present:
            raise _invalid(f"Topic already has {present} partition(s).")
        if partitions < present:
            raise _invalid(
                f"The topic {topic.name} currently has {present} partition(s); {partitions} would not be an increase."
            )
        if partitions > PARTITIONS_MAX:
            raise _invalid(f"Number of partitions must not be larger than {PARTITIONS_MAX}.")

    def grow(self, topic: Topic, partitions: int, waiter: TopicWaiter) -> None:
        """Give a topic so many partitions in all; `waiter` gets it once it has them, or hears why it has not."""
        turns = self._turns.setdefault(topic.topic_id, deque())
        turns.append(partial(self._begin, topic, partitions, waiter))
        if len(turns) == 1:
            turns[0]()

    def _begin(self, topic: Topic, partitions: int, waiter: TopicWaiter) -> None:
        try:
            self._check_exists(topic)
            self.check(topic, partitions)
        except RequestRefused as error:
            self._ended(topic, waiter, error)
            return
        asyncio.get_running_loop().call_soon(self._make_next, topic, partitions, waiter)

    def _make_next(self, topic: Topic, partitions: int, waiter: TopicWaiter) -> None:
        index = len(topic.partitions) + len(topic.coming)
        try:
            self._check_exists(topic)
            if index < partitions:
                topic.coming.append(self._topics.make_partition(topic, index))
                # One a turn of the loop, as in creation: each costs a few fsyncs.
                asyncio.get_running_loop().call_soon(self._make_next, topic, partitions, waiter)
                return
        except StorageError as error:
            logger.error("topic could not grow topic=%s partition=%d error=%s", topic.name, index, error)
            self._ended(topic, waiter, error)
            return
        except RequestRefused as gone:
            self._ended(topic, waiter, gone)
            return
        self._store.append(
            [PartitionsAdded(topic.topic_id, partitions)],
            lambda error: self._grown(topic, partitions, waiter, error),
        )

    def _grown(self, topic: Topic, partitions: int, waiter: TopicWaiter, error: Exception | None) -> None:
        try:
            if error is not None:
                raise error
            self._check_exists(topic)
        except (RequestRefused, StorageError) as failure:
            self._ended(topic, waiter, failure)
            return
        count = partitions - len(topic.partitions)
        topic.partitions += topic.coming[:count]
        del topic.coming[:count]
        logger.info("topic grown topic=%s id=%s partitions=%d", topic.name, topic.topic_id, len(topic.partitions))
        self._topics.tell(topic, What.GROWN)
        self._ended(topic, waiter, topic)

    def _ended(self, topic: Topic, waiter: TopicWaiter, outcome: Topic | Exception) -> None:
        waiter(outcome)
        turns = self._turns[topic.topic_id]
        turns.popleft()
        if turns:
            asyncio.get_running_loop().call_soon(turns[0])
        else:
            del self._turns[topic.topic_id]

    def _check_exists(self, topic: Topic) -> None:
        """Raises RequestRefused for a topic that was deleted since, or when the broker has stopped."""
        if not self._topics.holds(topic):
            raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {topic.name!r}")


def _invalid(message: str) -> RequestRefused:
    return RequestRefused(ErrorCode.INVALID_PARTITIONS, message)
