"""A member of a consumer group at work: sends the heartbeats and has done what they bring.

Heartbeats run in a task of their own, whatever the program does; what an assignment asks for is done in another, one at
a time, so that a program that is slow to give a partition up stays a member meanwhile. What is to be done with
partitions is the `Holder`'s business.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Protocol, TypeVar

from ..protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatResponse
from .cluster import Cluster
from .errors import Retriable, TidelogError
from .membership import Identity, Membership, Place, Places, State
from .records import TopicPartition
from .tasks import Tasks

Response = TypeVar("Response")

ANSWER_TIMEOUT = 10.0
"""Of a heartbeat: a connection that is silent for longer is given up, while the session still lasts."""
FAREWELL_TIMEOUT = 5.0
SETTLE_TIMEOUT = 5.0
REVOKE_SHARE = 0.8
"""Of the rebalance timeout that may be spent on finishing what is in hand; the rest is for commits and callbacks."""

_log = logging.getLogger(__name__)


class Holder(Protocol):
    """Who has the partitions."""

    async def revoke(self, places: Places, *, deadline: float) -> None:
        """Give these up, having finished and committed what was begun of them, until `deadline` at the latest."""

    async def assign(self, names: Mapping[Place, TopicPartition]) -> Places:
        """Begin to read these; returns those that are not there, to be tried again later."""

    def lose(self) -> list[TopicPartition]:
        """Forget at once whatever is held, for it belongs to others."""

    async def lost(self, names: list[TopicPartition]) -> None:
        """Tell the program what was lost."""

    def changed(self) -> None:
        """Something has changed that reading may have waited for."""

    def failed(self, error: Exception) -> None:
        """The member cannot go on."""


class Member:
    """Keeps a membership alive between `join` and `leave`."""

    def __init__(self, cluster: Cluster, identity: Identity, holder: Holder) -> None:
        self.membership = Membership(identity, backoff=cluster.config.backoff)
        self._cluster = cluster
        self._holder = holder
        self._lane = cluster.lane()
        self._tasks = Tasks()
        self._woken = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        """What an assignment, or being fenced, asks for."""
        self._is_rejoining = False
        self._is_settling = False
        self._missing: Places = frozenset()

    def start(self) -> None:
        """Begin to join the group."""
        self._tasks.start(self._beat(), name=f"heartbeats of {self.membership.identity.member_id}")

    async def settle(self) -> None:
        """Let what is being done come to its end, soon, and begin nothing more; heartbeats go on."""
        self._is_settling = True
        work = self._work  # which is None again when it is done
        if work is not None:
            await asyncio.wait([work], timeout=SETTLE_TIMEOUT)
            work.cancel()
            await asyncio.wait([work])

    async def leave(self) -> None:
        """Tell the group, once and without insisting; nothing runs any more afterwards."""
        is_heard = self.membership.problem is None
        farewell = self.membership.leave()
        try:
            await self._tasks.stop()
            if farewell is not None and is_heard:
                await self.ask(farewell, ConsumerGroupHeartbeatResponse, timeout=FAREWELL_TIMEOUT)
        except TidelogError as error:
            _log.info("group %s was not told that a member leaves: %s", self.membership.identity.group_id, error)
        finally:
            await self._lane.close()

    async def ask(self, request: object, expected: type[Response], *, timeout: float) -> Response:
        """Ask the group's side of the broker once."""
        return await self._cluster.ask_on(self._lane, request, expected, timeout=timeout)

    def hurry(self) -> None:
        """Hear as soon as possible what the group says."""
        self.membership.hurry()
        self._woken.set()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        membership = self.membership
        try:
            while membership.state not in (State.LEFT, State.FAILED):
                self._woken.clear()
                delay = membership.due_at - loop.time()
                if delay > 0:
                    try:
                        async with asyncio.timeout(None if delay == math.inf else delay):
                            await self._woken.wait()
                    except TimeoutError:
                        pass
                    continue
                await self._beat_once()
                self._act()
        except Exception as error:  # noqa: BLE001 - the root of a task: whoever reads is told
            membership.give_up(error)
            self._act()

    async def _beat_once(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            request = self.membership.heartbeat(loop.time())
            response = await self.ask(request, ConsumerGroupHeartbeatResponse, timeout=ANSWER_TIMEOUT)
        except Retriable as error:
            self.membership.failed(loop.time(), error)
        else:
            self.membership.answered(response, loop.time())
            if self._missing and self.membership.is_member:
                self.membership.reconsider()

    def _act(self) -> None:
        """Begin what the state asks for, unless something is being done; its end looks again."""
        membership = self.membership
        if membership.state is State.FAILED:
            assert membership.error is not None
            if self._work is not None:
                self._work.cancel()
            self._holder.lose()
            self._holder.failed(membership.error)
        elif membership.state is State.FENCED and not self._is_rejoining:
            group_id, member_id = membership.identity.group_id, membership.identity.member_id
            _log.warning("group %s has fenced member %s", group_id, member_id)
            self._is_rejoining = True
            work, lost = self._work, self._holder.lose()
            if work is not None:
                work.cancel()
            self._work = self._tasks.start(self._rejoin(work, lost), name="rejoin")
        elif membership.state is State.RECONCILING and self._work is None and not self._is_settling:
            self._work = self._tasks.start(self._reconcile(), name="reconcile")
        self._holder.changed()

    async def _rejoin(self, work: asyncio.Task[None] | None, lost: list[TopicPartition]) -> None:
        if work is not None:
            await asyncio.wait([work])
        if lost:
            await self._holder.lost(lost)
        self._missing = frozenset()
        self._is_rejoining = False
        if self.membership.state is State.FENCED:
            self.membership.dropped()
        self._finished_work()

    async def _reconcile(self) -> None:
        membership = self.membership
        target, owned = membership.target, membership.owned
        budget = membership.identity.rebalance_timeout * REVOKE_SHARE
        try:
            if revoked := owned - target:
                await self._holder.revoke(revoked, deadline=asyncio.get_running_loop().time() + budget)
            names = await self._named(target - owned)
            membership.reconciled(target, (owned & target) | names.keys())
            self._woken.set()
            self._missing = target - membership.owned
            if names:
                absent = await self._holder.assign(names)
                membership.owned -= absent
                self._missing |= absent
        except Exception as error:  # noqa: BLE001 - the root of a task: whoever reads is told
            membership.give_up(error)
        self._finished_work()

    async def _named(self, places: Places) -> dict[Place, TopicPartition]:
        """The partitions by name, without those of topics that are not there (any more, or yet)."""
        while True:
            try:
                names = await self._cluster.named({place.topic_id: None for place in sorted(places)})
                return {
                    place: TopicPartition(names[place.topic_id], place.partition)
                    for place in sorted(places)
                    if place.topic_id in names
                }
            except Retriable as error:
                _log.warning("the topics that were assigned cannot be looked up: %s", error)

    def _finished_work(self) -> None:
        self._work = None
        self._woken.set()
        self._act()
