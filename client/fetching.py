"""Keeps fetches under way, one to each leader, and deals with what goes wrong with them: shared by reader and consumer.

A fetch is a future: nothing runs for a program that does not read. `ask` sends what is wanted, `wait` waits until
something has happened and takes in the answers. What may pass is tried again until it has lasted as long as the
client's `timeout`, then raised.

What only the owner can mend is left to it, to be looked at before `wait`: topics whose metadata are out of date
(`stale`), and cursors that stand where the log holds nothing (`misplaced`).
"""

from __future__ import annotations

import asyncio

from ..protocol.errors import ErrorCode
from ..protocol.messages.fetch import FetchResponse
from .cluster import Cluster
from .config import Address, ReaderConfig
from .connection import Connection
from .errors import STALE_METADATA, OffsetOutOfRange, Retriable, TidelogError, TopicNotFound, Unavailable, error_for
from .fetcher import Asked, Cursor, Fetcher, Trouble


class Fetching:
    """The fetches of one reader or consumer."""

    def __init__(self, cluster: Cluster, config: ReaderConfig, *, waits_for_topics: bool = False) -> None:
        self.fetcher = Fetcher(config)
        self.stale: set[str] = set()
        self.misplaced: list[Trouble] = []
        """Not asked for again before they are `settled`."""
        self._cluster = cluster
        self._config = config
        self._waits_for_topics = waits_for_topics
        """A topic that is gone is no reason to give up: somebody else will say that it is not to be read any more."""
        self._lane = cluster.lane()
        self._asked: dict[Address, tuple[Asked, asyncio.Future[object]]] = {}
        self._connecting: dict[Address, asyncio.Future[Connection]] = {}

    def ask(self) -> None:
        """Ask every leader that is not being asked for what is wanted of it."""
        fetcher = self.fetcher
        if not fetcher.changed:
            return
        fetcher.changed = False
        by_leader: dict[Address, list[Cursor]] = {}
        for cursor in fetcher.wanted(asyncio.get_running_loop().time()):
            known = self._cluster.topic(cursor.topic)
            if known is not None and self._cluster.is_old(known):
                self.stale.add(cursor.topic)
            leader = self._cluster.leader(cursor.topic, cursor.partition)
            if leader is None:
                self._failed(cursor, Unavailable(f"{cursor.topic}[{cursor.partition}] has no leader"))
                self.stale.add(cursor.topic)
            elif leader not in self._asked:
                by_leader.setdefault(leader, []).append(cursor)
        for leader, cursors in by_leader.items():
            connection = self._lane.connection(leader)
            if connection is None or connection.lost is not None:
                self._connecting[leader] = self._lane.connect(leader)
                continue
            asked = fetcher.ask(cursors)
            timeout = self._config.max_wait + self._cluster.config.timeout
            self._asked[leader] = (asked, connection.submit(asked.request, timeout=timeout))

    async def wait(self, also: asyncio.Future[None] | None = None) -> None:
        """Wait until something has happened that may bring records, or until `also` is done."""
        loop = asyncio.get_running_loop()
        awaited: list[asyncio.Future[object] | asyncio.Future[Connection] | asyncio.Future[None]] = []
        awaited += (answer for _, answer in self._asked.values())
        awaited += self._connecting.values()
        if also is not None:
            awaited.append(also)
        retry_at = self.fetcher.next_retry(loop.time())
        delay = None if retry_at is None else retry_at - loop.time()
        if awaited:
            await asyncio.wait(awaited, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        elif delay is not None:
            await asyncio.sleep(delay)
        self.fetcher.changed = True
        self._collect_connections()
        self._collect_answers()

    def settled(self, trouble: Trouble) -> None:
        """What was misplaced stands elsewhere now, or is no longer read."""
        self.misplaced.remove(trouble)
        trouble.cursor.asked = False
        self.fetcher.changed = True

    def drop(self) -> None:
        """Close the connections; what is under way is forgotten. Asking begins anew."""
        for asked, _ in self._asked.values():
            self.fetcher.unask(asked)
        self._asked.clear()
        self._connecting.clear()
        self._lane.drop()

    async def close(self) -> None:
        """Close the connections for good."""
        self.drop()
        await self._lane.close()

    # Answers

    def _collect_connections(self) -> None:
        for leader, outcome in list(self._connecting.items()):
            if outcome.done():
                del self._connecting[leader]
                error = outcome.exception()
                if error is not None:
                    self._leader_failed(leader, error)

    def _collect_answers(self) -> None:
        for leader, (asked, answer) in list(self._asked.items()):
            if not answer.done():
                continue
            del self._asked[leader]
            self.fetcher.unask(asked)
            error = answer.exception()
            if error is not None:
                self._leader_failed(leader, error)
                continue
            response = answer.result()
            assert isinstance(response, FetchResponse)
            for trouble in self.fetcher.accept(asked, response):
                self._refused(trouble)

    # Trouble

    def _leader_failed(self, leader: Address, error: BaseException) -> None:
        if not isinstance(error, Retriable):
            raise error
        for cursor in list(self.fetcher.cursors.values()):
            if not cursor.fetched and self._cluster.leader(cursor.topic, cursor.partition) == leader:
                self.stale.add(cursor.topic)
                self._failed(cursor, error)

    def _refused(self, trouble: Trouble) -> None:
        cursor, code = trouble.cursor, trouble.code
        about = f"{cursor.topic}[{cursor.partition}]"
        if code == ErrorCode.OFFSET_OUT_OF_RANGE:
            if self._config.on_out_of_range == "raise":
                raise OffsetOutOfRange(f"{about}: {told(trouble)}", code=code)
            cursor.asked = True  # keeps it from being asked again before it is placed
            self.misplaced.append(trouble)
        elif code.retriable:
            if code in STALE_METADATA:
                self.stale.add(cursor.topic)
            self._failed(cursor, error_for(code, about=about))
        else:
            raise error_for(code, about=about)

    def _failed(self, cursor: Cursor, error: TidelogError) -> None:
        """Try again later, or give up if that has been tried for long enough."""
        now = asyncio.get_running_loop().time()
        if cursor.failing_since is None:
            cursor.failing_since = now
        cursor.failures += 1
        cursor.retry_at = now + self._cluster.config.backoff(cursor.failures)
        if self._waits_for_topics and (isinstance(error, TopicNotFound) or self._cluster.topic(cursor.topic) is None):
            return
        if cursor.retry_at - cursor.failing_since > self._cluster.config.timeout:
            cursor.failing_since = None  # whoever reads on gives it as long again
            raise error


def told(trouble: Trouble) -> str:
    """What the broker said about an offset that the log does not hold."""
    text = f"offset {trouble.cursor.fetch_offset} is not in the log, which holds {trouble.log_start_offset} and up"
    return text if trouble.high_watermark < 0 else f"{text} to {trouble.high_watermark}"
