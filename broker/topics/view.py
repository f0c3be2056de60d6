"""RegistryView: the topics, as group coordinators see them."""

from collections.abc import Iterable
from uuid import UUID

from .registry import Topics


class RegistryView:
    """See `coordinator.topics_view.TopicsView`."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def partitions_of(self, name: str) -> tuple[UUID, int] | None:
        """The topic's id and how many partitions it has."""
        topic = self._topics.by_name(name)
        return None if topic is None else (topic.topic_id, len(topic.partitions))

    def name_of(self, topic_id: UUID) -> str | None:
        """The name of the topic of this id."""
        topic = self._topics.by_id(topic_id)
        return None if topic is None else topic.name

    def names(self, *, internal: bool = False) -> Iterable[str]:
        """The names of all topics, in order of creation."""
        return [topic.name for topic in self._topics if internal or not topic.is_internal]
