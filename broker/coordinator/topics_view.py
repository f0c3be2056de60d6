"""TopicsView: what group coordinators may know of topics."""

from collections.abc import Iterable
from typing import Protocol
from uuid import UUID


class TopicsView(Protocol):
    """The topics as of now."""

    def partitions_of(self, name: str) -> tuple[UUID, int] | None:
        """The topic's id and how many partitions it has; None if there is no such topic."""

    def name_of(self, topic_id: UUID) -> str | None:
        """The name of the topic of this id; None if there is none."""

    def names(self, *, internal: bool = False) -> Iterable[str]:
        """The names of all topics: those of users, and of the broker's own if asked for; in no particular order."""
