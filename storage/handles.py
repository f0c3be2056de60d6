"""How many segments may be open at once.

A segment has three files, so a data directory with thousands of sealed ones cannot keep them all open. Segments that
are pinned (open for appends, or not yet synced) never come here; every other one registers when it opens its files, and
the one that was used least recently closes its own when there are too many.
"""

import logging
from collections import OrderedDict
from typing import Protocol

from .errors import DiskFailed

logger = logging.getLogger(__name__)


class Evictable(Protocol):
    """Something that can close its files and open them again when they are wanted."""

    def evict(self) -> None:
        """Close the files."""


class Handles:
    """The least recently used order of what is open and not pinned; one per data directory."""

    def __init__(self, limit: int) -> None:
        assert limit >= 1
        self._limit = limit
        self._order: OrderedDict[Evictable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def touch(self, owner: Evictable) -> None:
        """`owner` is open and was used just now."""
        self._order[owner] = None
        self._order.move_to_end(owner)
        while len(self._order) > self._limit:
            other, _ = self._order.popitem(last=False)
            try:
                other.evict()
            except DiskFailed as error:
                # It was synced before it came here, so nothing is lost; least of all `owner`'s.
                logger.warning("file of a closed segment could not be closed error=%s", error)

    def forget(self, owner: Evictable) -> None:
        """`owner` is closed, or is pinned from now on."""
        self._order.pop(owner, None)
