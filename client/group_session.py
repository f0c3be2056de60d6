"""What goes on behind a consumer: its partitions come and go, are fetched, and what is finished of them is committed.

Three parties meet here: the program, which takes records one after the other; the member, in the background, which
says what is to be given up or begun; and the background commits. Nobody waits for the program but a partition that is
being given up while the program has something of it, and that only until a deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from .cluster import Cluster
from .config import ConsumerConfig
from .errors import (
    ClientClosed,
    ConnectionLost,
    PartitionNotFound,
    PartitionsLost,
    Retriable,
    TidelogError,
    TopicNotFound,
)
from .fetcher import NOWHERE, Trouble
from .fetching import Fetching, told
from .group_offsets import GroupOffsets
from .holdings import Holding, Holdings
from .lookup import resolve
from .member import Member
from .membership import Identity, Place, Places, State
from .offsets import EARLIEST, LATEST, OffsetQuery, parse_offset
from .records import Record, TopicPartition
from .tasks import Tasks

OnPartitions = Callable[[list[TopicPartition]], Awaitable[None] | None]

CLOSE_TIMEOUT = 5.0
"""For the last commit where nobody waits for it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who in the program is told which partitions come and go; each may be asynchronous."""

    on_assign: OnPartitions | None = None
    on_revoke: OnPartitions | None = None
    on_lost: OnPartitions | None = None

    def __post_init__(self) -> None:
        for name, listener in (("on_assign", self.on_assign), ("on_revoke", self.on_revoke), ("on_lost", self.on_lost)):
            if listener is not None and not callable(listener):
                raise TypeError(f"{name} is a callable that takes a list of partitions, not {listener!r}")


class GroupSession:
    """A consumer's time in its group."""

    def __init__(self, cluster: Cluster, config: ConsumerConfig, listeners: Listeners) -> None:
        self._cluster = cluster
        self._config = config
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self._commits_first = config.commit == "before"
        self._start = parse_offset(config.start, now_ms=cluster.config.now_ms())
        self._fetching = Fetching(cluster, config.fetch, waits_for_topics=True)
        self.holdings = Holdings(self._fetching.fetcher, hands_out_whole=self._commits_first)
        identity = Identity(
            group_id=config.group,
            member_id=str(UUID(int=cluster.config.random.getrandbits(128), version=4)),
            instance_id=config.instance_id,
            topics=config.topics,
            pattern=config.pattern,
            rebalance_timeout=config.rebalance_timeout,
        )
        self._member = Member(cluster, identity, self)
        self.membership = self._member.membership
        self._offsets = GroupOffsets(cluster, self._member)
        self._tasks = Tasks()
        self._waiters: list[asyncio.Future[None]] = []
        self._failure: Exception | None = None
        self._untold: Exception | None = None
        """A failure that the program has not seen yet."""
        self._is_working = False
        """The program works on what is in hand."""
        self._lost_in_hand: list[TopicPartition] = []
        """Partitions that are gone while something of them is in hand that was not committed."""
        self._calling: asyncio.Task[object] | None = None
        """The task that calls a listener."""
        self._uncertain_since: float | None = None
        self.is_open = False

    # Coming and going

    async def open(self) -> None:
        """Join the group; raises what it has against this member."""
        self.is_open = True
        self._member.start()
        while not self.membership.is_member:
            self.check()
            await self._until_certain(None)
        if self._config.commit != "manual":
            self._tasks.start(self._commit_now_and_then(), name=f"commits for {self._config.group}")

    async def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Commit what is finished, give everything up, leave the group. What is in hand is not finished."""
        if not self.is_open:
            return
        self.is_open = False
        self._is_working = False
        self.changed()
        try:
            await self._tasks.stop()
            await self._member.settle()
            await self._give_up(list(self.holdings.by_name.values()), deadline=self._loop.time() + timeout)
        finally:
            await self._member.leave()
            await self._fetching.close()

    def check(self) -> None:
        """Raise what has gone wrong in the background."""
        if self._failure is not None:
            failure, self._untold = self._failure, None
            if self.membership.state is not State.FAILED:
                self._failure = None
            raise failure
        if not self.is_open:
            raise ClientClosed("the consumer was left, or not entered: async with client.consumer(...) as consumer")

    def tell(self) -> None:
        """After `close`: raise what has gone wrong in the background since the program last looked."""
        untold, self._untold = self._untold, None
        if untold is not None:
            raise untold

    # What the program does

    def working(self) -> None:
        """The program works on what is in hand from here on."""
        self._is_working = True

    def finish(self) -> list[TopicPartition]:
        """The program is done with what is in hand; returns the partitions that it cannot be committed in any more."""
        lost, self._lost_in_hand = self._lost_in_hand, []
        self._is_working = False
        self.holdings.finish()
        if self._waiters:
            self.changed()
        return lost

    def take(self) -> Record | None:
        """The next record, which is in hand now; None if it takes a `load` first."""
        if self._loop.time() >= self.membership.certain_until:
            return None
        return self.holdings.take()

    async def load(self, deadline: float | None = None) -> None:
        """Wait until there may be something to take, which has to be looked at; at most until `deadline`."""
        self.check()
        if self._loop.time() >= self.membership.certain_until:
            await self._until_certain(deadline)
            return
        self._uncertain_since = None
        self._fetching.ask()
        if self.holdings.load():
            if self._commits_first:
                await self._commit_first()
            return
        if self._fetching.stale or self._fetching.misplaced:
            await self._mend()
            return
        waiter = self._waiter()
        try:
            async with asyncio.timeout_at(deadline):
                await self._fetching.wait(waiter)
        except TimeoutError:
            pass
        finally:
            self._dismiss(waiter)

    def is_deliverable(self, holding: Holding) -> bool:
        """What was taken of this partition may be handed out."""
        return holding.is_held and (holding.is_ready or self._commits_first)

    async def commit(self, offsets: Mapping[Holding, int] | None = None) -> None:
        """Commit these offsets durably, or what is finished."""
        if offsets is None:
            offsets = self._finished(self.holdings.by_name.values())
        await self._offsets.commit(offsets)

    @property
    def is_called(self) -> bool:
        """The running code was called as a listener."""
        return self._calling is not None and asyncio.current_task() is self._calling

    def changed(self) -> None:
        """Something has changed that somebody may wait for; see `Holder`, too."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # What the member has to say: see `Holder`

    async def revoke(self, places: Places, *, deadline: float) -> None:
        """See `Holder`."""
        revoked = [holding for holding in self.holdings.by_name.values() if holding.place in places]
        for holding in revoked:
            self.holdings.stop(holding)
        try:
            async with asyncio.timeout_at(deadline):
                while self._is_working and any(self.holdings.is_busy(holding) for holding in revoked):
                    await self._change()
        except TimeoutError:
            _log.warning("%s: given up before the program has finished what it has of them", _names(revoked))
        await self._give_up(revoked, deadline=max(deadline, self._loop.time() + CLOSE_TIMEOUT))

    async def assign(self, names: Mapping[Place, TopicPartition]) -> Places:
        """See `Holder`."""
        added = await self._begin(names)
        await self._tell(self._listeners.on_assign, [holding.name for holding in added])
        for holding in added:
            holding.is_ready = True
            holding.update()
        self._fetching.fetcher.changed = True
        self.changed()
        return frozenset(names.keys() - {holding.place for holding in added})

    def lose(self) -> list[TopicPartition]:
        """See `Holder`."""
        lost = sorted(self.holdings.by_name)
        for holding in list(self.holdings.by_name.values()):
            self._remove(holding)
        self.changed()
        return lost

    async def lost(self, names: list[TopicPartition]) -> None:
        """See `Holder`."""
        await self._tell(self._listeners.on_lost or self._listeners.on_revoke, names)

    def failed(self, error: Exception) -> None:
        """See `Holder`."""
        self._failure = self._failure or error
        self._untold = self._untold or error
        self.changed()

    # Committing

    def _finished(self, holdings: Iterable[Holding]) -> dict[Holding, int]:
        return {holding: self.holdings.done(holding) for holding in holdings}

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._config.commit_interval)
            await self._commit_finished(self.holdings.by_name.values(), deadline=None)

    async def _commit_finished(self, holdings: Iterable[Holding], *, deadline: float | None) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._offsets.commit(self._finished(holdings))
        except (TimeoutError, Retriable, PartitionsLost) as error:
            _log.warning("group %s: not committed: %s", self._config.group, str(error) or "there was no time left")
        except TidelogError as error:
            self.failed(error)

    async def _commit_first(self) -> None:
        """At most once: what was loaded is committed before any of it is handed out."""
        holding = self.holdings.source
        self._is_working = True  # what is committed is handed out, even if the partition is to be given up
        try:
            await self._offsets.commit({holding: holding.cursor.position})
        except BaseException as error:
            self._is_working = False
            if holding.is_held:
                self.holdings.put_back_batch()
            if not isinstance(error, PartitionsLost):
                raise

    async def _give_up(self, holdings: list[Holding], *, deadline: float) -> None:
        for holding in holdings:
            self.holdings.stop(holding)
        if self._config.commit != "manual":
            await self._commit_finished(holdings, deadline=deadline)
        await self._tell(self._listeners.on_revoke, [holding.name for holding in holdings])
        for holding in holdings:
            if holding.is_held:
                self._remove(holding)

    def _remove(self, holding: Holding) -> None:
        if self.holdings.in_hand.get(holding, -1) >= max(holding.committed, 0):
            self._lost_in_hand.append(holding.name)
        self.holdings.remove(holding)

    async def _tell(self, listener: OnPartitions | None, names: list[TopicPartition]) -> None:
        if listener is None or not names:
            return
        self._calling = asyncio.current_task()
        try:
            told_later = listener(sorted(names))
            if told_later is not None:
                await told_later
        except Exception as error:  # noqa: BLE001 - the program's own: it is told where it reads
            _log.warning("group %s: a listener failed: %r", self._config.group, error)
            self.failed(error)
        finally:
            self._calling = None

    # Beginning

    async def _begin(self, names: Mapping[Place, TopicPartition]) -> list[Holding]:
        while True:
            try:
                committed = await self._offsets.fetch(names)
                starts = await self._starts(names, committed)
            except Retriable as error:
                _log.warning("group %s: where to begin is not known yet: %s", self._config.group, error)
                continue
            return [
                self.holdings.add(names[place], place, offset, committed=committed[place])
                for place, offset in starts.items()
            ]

    async def _starts(self, names: Mapping[Place, TopicPartition], committed: Mapping[Place, int]) -> dict[Place, int]:
        """Where to begin in each partition; without those of topics that are gone."""
        starts = {place: committed[place] for place in names if committed[place] >= 0}
        by_topic: dict[str, dict[int, Place]] = {}
        for place, name in names.items():
            if place not in starts:
                by_topic.setdefault(name.topic, {})[name.partition] = place
        for topic, places in by_topic.items():
            try:
                if any(self._cluster.leader(topic, partition) is None for partition in places):
                    await self._cluster.read_topic(topic)
                offsets = await resolve(self._cluster, topic, dict.fromkeys(places, self._start))
            except (TopicNotFound, PartitionNotFound):
                continue
            starts |= {place: offsets[partition] for partition, place in places.items()}
        return starts

    async def _mend(self) -> None:
        for topic in sorted(self._fetching.stale):
            try:
                await self._cluster.read_topic(topic)
            except TopicNotFound:
                pass  # the group will take it away
            self._fetching.stale.discard(topic)
        for trouble in list(self._fetching.misplaced):
            await self._place(trouble)

    async def _place(self, trouble: Trouble) -> None:
        """A position that the log does not hold: go on where the program wants it."""
        name, offset = trouble.cursor.name, trouble.cursor.fetch_offset
        target: OffsetQuery = {"earliest": EARLIEST, "latest": LATEST}.get(self._config.on_out_of_range, self._start)
        if target.offset is not None:  # a number that is outside, too, means the end that it is nearer to
            target = EARLIEST if target.offset < trouble.log_start_offset else LATEST
        if offset != NOWHERE:
            found = await resolve(self._cluster, name.topic, {name.partition: target})
            if trouble.cursor.fetch_offset == offset:
                _log.warning("%s[%d]: %s; going on at %d", *name, told(trouble), found[name.partition])
                self.holdings.place(self.holdings.by_name[name], found[name.partition])
        self._fetching.settled(trouble)

    # Waiting

    async def _until_certain(self, deadline: float | None) -> None:
        """Wait for a word from the group; raises why there is none when that has lasted for the client's `timeout`."""
        now = self._loop.time()
        if self._uncertain_since is None:
            self._uncertain_since = now
            self._member.hurry()
        give_up_at = self._uncertain_since + self._cluster.config.timeout
        problem = self.membership.problem
        if problem is not None and now >= give_up_at:
            self._uncertain_since = None
            raise ConnectionLost(f"group {self._config.group!r} does not answer: {problem}") from problem
        times = [time for time in (deadline, give_up_at if now < give_up_at else None) if time is not None]
        try:
            async with asyncio.timeout_at(min(times, default=None)):
                await self._change()
        except TimeoutError:
            pass

    async def _change(self) -> None:
        waiter = self._waiter()
        try:
            await waiter
        finally:
            self._dismiss(waiter)

    def _waiter(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        return waiter

    def _dismiss(self, waiter: asyncio.Future[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)


def _names(holdings: Iterable[Holding]) -> str:
    return ", ".join(f"{holding.name.topic}[{holding.name.partition}]" for holding in holdings)
