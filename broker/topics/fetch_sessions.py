"""Incremental fetch sessions (KIP-227) [F-4]: a reader of many partitions need not name them all in every fetch.

A full fetch with epoch 0 opens a session: the broker remembers the partitions and what it told of each. In the
following ones the client names only what is to be added, changed or forgotten, and the answer leaves out every
partition of which there is nothing new. A session belongs to no connection: whoever knows its number and its epoch
continues it, also after a reconnect. A client whose session is gone (evicted, or never given for want of room: session
id 0 says either) names everything again; nothing is lost but work.

A partition is *bound* where it was found first. When its topic is deleted the binding is dead, and one of the same name
that comes after is never taken for it: by name, the client hears once that the topic was gone before the new one is
read; an id stays unknown for ever [L-14].

Bounds: `slots_max` sessions, and `partitions_max` partitions over all of them.
"""

import weakref
from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Final

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic, PartitionData
from ..environment import Environment
from ..metrics import Metrics
from .partition import Partition
from .registry import NAME_LENGTH_MAX

NO_SESSION: Final = 0
FINAL_EPOCH: Final = -1
"""No session: close the one that is named, open none."""
INITIAL_EPOCH: Final = 0
"""A full fetch that asks for a session; the one that is named is closed."""
EPOCH_MAX: Final = (1 << 31) - 1
SESSION_ID_MAX: Final = (1 << 31) - 1

IDLE_S_MAX: Final = 120.0
"""So long unused, a session may be evicted for any other; so old, for one with more partitions (as in Kafka)."""

PARTITIONS_MAX: Final = 50_000
"""Remembered over all sessions: a partition costs 0.4 KiB here, 0.8 at the most, and nothing to whoever names one that
does not exist. Kafka has no such bound."""

UNTOLD: Final = -1

Key = tuple[int | str, int]
"""A topic, by its id where it has one else by its name, and a partition's number."""


class WantedPartition:
    """A partition that is read: how it was asked for, where it was found, what the client was last told of it."""

    __slots__ = ("_bound", "asked", "high_watermark", "last_stable_offset", "log_start_offset", "topic", "topic_id")

    def __init__(self, topic: FetchTopic, asked: FetchPartition) -> None:
        self.topic = topic.topic
        self.topic_id = topic.topic_id
        self.asked = asked
        self.high_watermark = self.last_stable_offset = self.log_start_offset = UNTOLD
        # Weak: an idle session must not keep the log of a deleted topic in memory.
        self._bound: weakref.ref[Partition] | None = None

    @property
    def is_bound(self) -> bool:
        """It was found once; it may have been deleted since."""
        return self._bound is not None

    def partition(self) -> Partition | None:
        """Where it was found; None if it never was, or is deleted."""
        partition = None if self._bound is None else self._bound()
        return None if partition is None or partition.deleted else partition

    def bind(self, partition: Partition) -> None:
        """It was found."""
        self._bound = weakref.ref(partition)

    def idle(self) -> Partition | None:
        """The partition, if it is plain that there is neither anything to read nor to tell; None else.

        The short way for the many partitions of a session in which nothing happens: what it answers with None may
        still be idle.
        """
        if self._bound is None:
            return None
        partition, asked = self._bound(), self.asked
        if (
            partition is None
            or partition.deleted
            or asked.fetch_offset != partition.high_watermark
            or self.high_watermark != partition.high_watermark
            or self.last_stable_offset != partition.last_stable_offset
            or self.log_start_offset != partition.log_start_offset
        ):
            return None
        if asked.current_leader_epoch >= 0 or asked.last_fetched_epoch >= 0:
            epoch = partition.leader_epoch
            if asked.current_leader_epoch not in (-1, epoch) or asked.last_fetched_epoch not in (-1, epoch):
                return None
        return partition

    def is_news(self, data: PartitionData) -> bool:
        """Whether the client must be told: records, an error, a divergence, or offsets that have moved."""
        return bool(
            data.records
            or data.error_code
            or data.diverging_epoch.epoch >= 0
            or data.high_watermark != self.high_watermark
            or data.last_stable_offset != self.last_stable_offset
            or data.log_start_offset != self.log_start_offset
        )

    def tell(self, data: PartitionData) -> None:
        """The client hears this."""
        if data.error_code:
            # So that it hears of it when the error is over.
            self.high_watermark = UNTOLD
            if data.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                self._bound = None
            return
        self.high_watermark = data.high_watermark
        self.last_stable_offset = data.last_stable_offset
        self.log_start_offset = data.log_start_offset


class FetchSession:
    """What the broker remembers of a reader."""

    __slots__ = ("by_id", "counted", "epoch", "id", "is_replaceable", "opened_at", "partitions", "used_at")

    def __init__(self, session_id: int, partitions: dict[Key, WantedPartition], *, by_id: bool, now: float) -> None:
        self.id = session_id
        self.partitions = partitions
        """In the order in which they are read next: what has just given records stands behind the others."""
        self.by_id = by_id
        """Its topics are named by id, which a version of the request does or does not."""
        self.epoch = 1
        """That of the next request."""
        self.opened_at = self.used_at = now
        self.counted = 0
        """How many of its partitions the cache has in its sum."""
        self.is_replaceable = False
        """Old enough to make room for a session with more partitions."""

    def update(self, request: FetchRequest) -> None:
        """Add, change and forget what the request names, in this order."""
        partitions = self.partitions
        for topic in request.topics:
            name = _name_of(topic.topic, topic.topic_id.int)
            for asked in topic.partitions:
                wanted = partitions.get((name, asked.partition))
                if wanted is None:
                    partitions[name, asked.partition] = WantedPartition(topic, asked)
                else:
                    wanted.asked = asked
        for forgotten in request.forgotten_topics_data:
            name = _name_of(forgotten.topic, forgotten.topic_id.int)
            for index in forgotten.partitions:
                partitions.pop((name, index), None)

    def move_to_tail(self, wanted: WantedPartition) -> None:
        """It gave records: next time the others come first, or a busy one would starve them under max_bytes [F-2]."""
        key = (_name_of(wanted.topic, wanted.topic_id.int), wanted.asked.partition)
        self.partitions[key] = self.partitions.pop(key)


class FetchScope:
    """What one fetch reads, in which order; and how its session goes on once the answer is made."""

    __slots__ = ("_by_id", "_epoch", "_opens", "_session", "_sessions", "partitions")

    def __init__(
        self,
        sessions: "FetchSessions",
        partitions: dict[Key, WantedPartition],
        *,
        session: FetchSession | None = None,
        opens: bool = False,
        by_id: bool = False,
    ) -> None:
        """`session`: the one that is continued; `opens`: a new one is asked for."""
        self.partitions = partitions
        self._sessions = sessions
        self._session = session
        self._epoch = 0 if session is None else session.epoch
        self._opens = opens
        self._by_id = by_id

    @property
    def is_incremental(self) -> bool:
        """Only what is new is answered."""
        return self._session is not None

    @property
    def session_id(self) -> int:
        """Of the session that is continued."""
        return NO_SESSION if self._session is None else self._session.id

    @property
    def is_overtaken(self) -> bool:
        """Another request has continued the session meanwhile: an answer to this one would not fit what that one says.

        INVALID_FETCH_SESSION_EPOCH is due.
        """
        return self._session is not None and self._session.epoch != self._epoch

    def settle(self, told: Iterable[tuple[WantedPartition, PartitionData]]) -> int:
        """The answer consists of this; returns the session id to go with it. Called once, and not when overtaken."""
        session = self._session
        if session is None:
            if not self._opens:
                return NO_SESSION
            for wanted, data in told:
                wanted.tell(data)
            return self._sessions.open(self.partitions, by_id=self._by_id)
        for wanted, data in told:
            wanted.tell(data)
            if data.records:
                session.move_to_tail(wanted)
        return session.id if self._sessions.holds(session) else NO_SESSION


class FetchSessions:
    """All sessions of the broker."""

    def __init__(
        self, environment: Environment, metrics: Metrics, *, slots_max: int, partitions_max: int = PARTITIONS_MAX
    ) -> None:
        self._environment = environment
        self._metrics = metrics
        self._slots_max = slots_max
        self._partitions_max = partitions_max
        self._sessions: dict[int, FetchSession] = {}
        """The least recently used first."""
        self._partitions = 0
        """Of all sessions together."""
        self._replaceable: list[tuple[int, int]] = []
        """Partitions and id of those that are old enough to be replaced, sorted."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def holds(self, session: FetchSession) -> bool:
        """Whether it is among them."""
        return self._sessions.get(session.id) is session

    def resolve(self, request: FetchRequest, *, by_id: bool) -> FetchScope:
        """What the request reads, its session taken into account. Raises RequestRefused for one that is not there."""
        if request.session_epoch in (FINAL_EPOCH, INITIAL_EPOCH):
            named = self._sessions.get(request.session_id)
            if named is not None:
                self._remove(named)
            return FetchScope(self, _wanted(request), opens=request.session_epoch == INITIAL_EPOCH, by_id=by_id)
        session = self._sessions.get(request.session_id)
        if session is None:
            raise RequestRefused(ErrorCode.FETCH_SESSION_ID_NOT_FOUND, str(request.session_id))
        if session.epoch != request.session_epoch:
            raise RequestRefused(ErrorCode.INVALID_FETCH_SESSION_EPOCH, f"epoch {session.epoch} is next")
        if session.by_id != by_id:
            raise RequestRefused(ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR, "names and ids do not mix in a session")
        session.update(request)
        if not session.partitions:
            # As in Kafka: a session that reads nothing is closed, and this was its last request.
            self._remove(session)
            return FetchScope(self, _wanted(request))
        session.epoch = 1 if session.epoch == EPOCH_MAX else session.epoch + 1
        scope = FetchScope(self, session.partitions, session=session)
        self._continue(session, request)
        return scope

    def open(self, partitions: dict[Key, WantedPartition], *, by_id: bool) -> int:
        """Remember these; returns the new session's id, 0 if there is no room."""
        now = self._environment.monotonic()
        if not self._has_names(wanted.topic for wanted in partitions.values()):
            return NO_SESSION
        if not self._make_room(len(partitions), now) or not self._free_slot(len(partitions), now):
            return NO_SESSION
        session_id = self._environment.random.randrange(1, SESSION_ID_MAX)
        while session_id in self._sessions:
            session_id = self._environment.random.randrange(1, SESSION_ID_MAX)
        session = FetchSession(session_id, partitions, by_id=by_id, now=now)
        self._sessions[session_id] = session
        self._count(session, len(partitions))
        return session_id

    def _continue(self, session: FetchSession, request: FetchRequest) -> None:
        now = self._environment.monotonic()
        del self._sessions[session.id]
        self._sessions[session.id] = session
        session.used_at = now
        added = len(session.partitions) - session.counted
        if added > 0 and not (self._has_names(topic.topic for topic in request.topics) and self._make_room(added, now)):
            # This request is still answered, with session id 0, by which the client knows that it is over.
            self._remove(session)
            return
        is_replaceable = now - session.opened_at > IDLE_S_MAX
        if added or is_replaceable != session.is_replaceable:
            self._unlist(session)
            self._count(session, len(session.partitions))
            session.is_replaceable = is_replaceable
            if is_replaceable:
                insort(self._replaceable, (session.counted, session.id))

    @staticmethod
    def _has_names(names: Iterable[str]) -> bool:
        """No name is larger than a topic's can be: what is remembered must be small."""
        return all(len(name) <= NAME_LENGTH_MAX and name.isascii() for name in names)

    def _make_room(self, count: int, now: float) -> bool:
        """For more partitions, at the cost of sessions that nobody uses any more."""
        if count > self._partitions_max:
            return False
        while self._partitions + count > self._partitions_max:
            if not self._evict_idle(now):
                return False
        return True

    def _free_slot(self, partitions: int, now: float) -> bool:
        """For a session of so many partitions: at the cost of an idle one, else of an old one with fewer."""
        if len(self._sessions) < self._slots_max:
            return True
        if self._evict_idle(now):
            return True
        if not self._replaceable or self._replaceable[0][0] >= partitions:
            return False
        self._evict(self._sessions[self._replaceable[0][1]])
        return True

    def _evict_idle(self, now: float) -> bool:
        oldest = next(iter(self._sessions.values()), None)
        if oldest is None or now - oldest.used_at <= IDLE_S_MAX:
            return False
        self._evict(oldest)
        return True

    def _evict(self, session: FetchSession) -> None:
        self._remove(session)
        self._metrics.fetch_sessions_evicted += 1

    def _remove(self, session: FetchSession) -> None:
        self._unlist(session)
        del self._sessions[session.id]
        self._count(session, 0)

    def _count(self, session: FetchSession, partitions: int) -> None:
        self._partitions += partitions - session.counted
        session.counted = partitions
        self._metrics.fetch_sessions = len(self._sessions)
        self._metrics.fetch_session_partitions = self._partitions

    def _unlist(self, session: FetchSession) -> None:
        if session.is_replaceable:
            session.is_replaceable = False
            del self._replaceable[bisect_left(self._replaceable, (session.counted, session.id))]


def _wanted(request: FetchRequest) -> dict[Key, WantedPartition]:
    """What a full fetch reads. Of a partition named twice the first place and the last word count, as in Kafka."""
    wanted: dict[Key, WantedPartition] = {}
    for topic in request.topics:
        name = _name_of(topic.topic, topic.topic_id.int)
        for asked in topic.partitions:
            wanted[name, asked.partition] = WantedPartition(topic, asked)
    return wanted


def _name_of(topic: str, topic_id: int) -> int | str:
    return topic_id or topic
