"""The members of a classic group: who they are, which protocols they share, who waits for what.

Invariants: the members have at least one protocol in common, for nobody is let in who would end that. `joined` counts
those who wait for the end of a join, `bytes_used` what their protocols take. The leader is a member, or nobody while
there is none. An instance id belongs to one member.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...protocol.messages.join_group import JoinGroupRequest, JoinGroupResponseMember
from .classic_state import PENDING_MAX, PENDING_SWEEP_MS
from .decision import Caller, Waiter
from .group_records import ClassicGroupMetadata, ClassicGroupValue, ClassicMemberValue

ELEMENT_BYTES = 100
"""What an entry in a table costs beside its bytes, roughly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """A JoinGroup, as the machine wants to see it."""

    member_id: str
    instance_id: str | None
    protocol_type: str
    protocols: Mapping[str, bytes]
    """The most wanted first."""
    rebalance_timeout_ms: int
    session_timeout_ms: int
    caller: Caller
    waiter: Waiter

    @classmethod
    def of(cls, request: JoinGroupRequest, caller: Caller, waiter: Waiter) -> "Joining":
        """Read the request."""
        protocols: dict[str, bytes] = {}
        for protocol in request.protocols:
            protocols.setdefault(protocol.name, protocol.metadata)
        # v0 has no rebalance timeout, and Kafka replays a negative one as the session's.
        given_ms = request.rebalance_timeout_ms if caller.version > 0 else -1
        return cls(
            member_id=request.member_id,
            instance_id=request.group_instance_id,
            protocol_type=request.protocol_type,
            protocols=protocols,
            rebalance_timeout_ms=given_ms if given_ms >= 0 else request.session_timeout_ms,
            session_timeout_ms=request.session_timeout_ms,
            caller=caller,
            waiter=waiter,
        )


@dataclass(slots=True, kw_only=True, eq=False)
class ClassicMember:
    """One member."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: Mapping[str, bytes]
    """The most wanted first."""
    assignment: bytes = b""
    is_new: bool = False
    """It has not been told its first generation."""
    join_waiter: Waiter | None = None
    sync_waiter: Waiter | None = None
    deadline_ms: int = 0
    """When its session ends."""
    timer_ms: int | None = None
    """When the timer of its session comes; None if it is not set."""
    epoch_before: int = -1
    """What it knew in the consumer group that this one was, until it has joined here."""

    @classmethod
    def who_joins(cls, member_id: str, joining: Joining) -> "ClassicMember":
        """The member that this JoinGroup makes."""
        return cls(
            member_id=member_id,
            instance_id=joining.instance_id,
            client_id=joining.caller.client_id,
            client_host=joining.caller.host,
            rebalance_timeout_ms=joining.rebalance_timeout_ms,
            session_timeout_ms=joining.session_timeout_ms,
            protocols=joining.protocols,
        )

    @classmethod
    def remembered(cls, value: ClassicMemberValue, protocol: str) -> "ClassicMember":
        """The member of a record, which knows but the protocol that was chosen."""
        unset = value.rebalance_timeout_ms < 0
        return cls(
            member_id=value.member_id,
            instance_id=value.instance_id,
            client_id=value.client_id,
            client_host=value.client_host,
            rebalance_timeout_ms=value.session_timeout_ms if unset else value.rebalance_timeout_ms,
            session_timeout_ms=value.session_timeout_ms,
            protocols={protocol: value.subscription},
            assignment=value.assignment,
        )

    @property
    def is_static(self) -> bool:
        """Whether it keeps its place over a restart (KIP-345)."""
        return self.instance_id is not None

    def matches(self, joining: Joining) -> bool:
        """Whether it still says the same of itself, in the same order."""
        return tuple(self.protocols.items()) == tuple(joining.protocols.items())

    def to_value(self, protocol: str, assignment: bytes) -> ClassicMemberValue:
        """What is written of it."""
        return ClassicMemberValue(
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            session_timeout_ms=self.session_timeout_ms,
            subscription=self.protocols.get(protocol, b""),
            assignment=assignment,
        )

    def for_leader(self, protocol: str) -> JoinGroupResponseMember:
        """What the leader is told of it."""
        return JoinGroupResponseMember(
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            metadata=self.protocols.get(protocol, b""),
        )


class ClassicMembers:
    """All members of a group, in the order in which they came."""

    __slots__ = ("_by_id", "_by_instance", "_supporters", "bytes_used", "joined", "leader")

    def __init__(self) -> None:
        self._by_id: dict[str, ClassicMember] = {}
        self._by_instance: dict[str, str] = {}
        self._supporters: dict[str, int] = {}
        """How many members know a protocol."""
        self.leader: str | None = None
        self.joined = 0
        self.bytes_used = 0

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def by_id(self) -> Mapping[str, ClassicMember]:
        """The members by their ids."""
        return self._by_id

    def get(self, member_id: str) -> ClassicMember | None:
        """The member, if it is one."""
        return self._by_id.get(member_id)

    def of_instance(self, instance_id: str) -> ClassicMember | None:
        """The static member of this instance id."""
        member_id = self._by_instance.get(instance_id)
        return None if member_id is None else self._by_id[member_id]

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest that any of them wants to be waited for."""
        return max((member.rebalance_timeout_ms for member in self._by_id.values()), default=0)

    # -- coming and going --

    def add(self, member: ClassicMember) -> None:
        """It is one of them; the first one leads."""
        assert member.member_id not in self._by_id, "a member is added once"
        self._by_id[member.member_id] = member
        if member.instance_id is not None:
            assert member.instance_id not in self._by_instance, "an instance id belongs to one member"
            self._by_instance[member.instance_id] = member.member_id
        if self.leader is None:
            self.leader = member.member_id
        self.joined += member.join_waiter is not None
        self._count(member.protocols, 1)

    def remove(self, member: ClassicMember) -> None:
        """It is none of them any more; the one that came first of the others leads in its place."""
        del self._by_id[member.member_id]
        if member.instance_id is not None:
            del self._by_instance[member.instance_id]
        if self.leader == member.member_id:
            self.leader = next(iter(self._by_id), None)
        self.joined -= member.join_waiter is not None
        self._count(member.protocols, -1)

    def replace(self, old: ClassicMember, new: ClassicMember) -> None:
        """The static member has come again under another id; it leads if it did."""
        leads = self.leader == old.member_id
        self.remove(old)
        self.add(new)
        if leads:
            self.leader = new.member_id

    def update(self, member: ClassicMember, joining: Joining) -> None:
        """What it says of itself has changed."""
        self._count(member.protocols, -1)
        member.protocols = joining.protocols
        self._count(member.protocols, 1)
        member.rebalance_timeout_ms = joining.rebalance_timeout_ms
        member.session_timeout_ms = joining.session_timeout_ms

    def _count(self, protocols: Mapping[str, bytes], sign: int) -> None:
        self.bytes_used += sign * bytes_of(protocols)
        for name in protocols:
            count = self._supporters.get(name, 0) + sign
            if count:
                self._supporters[name] = count
            else:
                del self._supporters[name]

    # -- waiting --

    def park_join(self, member: ClassicMember, waiter: Waiter) -> Waiter | None:
        """It waits for the end of the join; whoever waited in its name before is returned."""
        before, member.join_waiter = member.join_waiter, waiter
        self.joined += before is None
        return before

    def take_join(self, member: ClassicMember) -> Waiter | None:
        """Who waits in its name for the end of the join, no longer."""
        waiter, member.join_waiter = member.join_waiter, None
        self.joined -= waiter is not None
        return waiter

    # -- protocols --

    def shares_one_of(self, protocols: Mapping[str, bytes]) -> bool:
        """Whether all members know at least one of these."""
        return any(self._supporters.get(name, 0) == len(self._by_id) for name in protocols)

    def vote(self, *, instead: tuple[ClassicMember, Mapping[str, bytes]] | None = None) -> str | None:
        """The protocol that most members like best among those that all know; None if there is none.

        `instead`: as if this member knew those protocols.
        """
        supporters = dict(self._supporters)
        if instead is not None:
            for name in instead[0].protocols:
                supporters[name] -= 1
            for name in instead[1]:
                supporters[name] = supporters.get(name, 0) + 1
        candidates = {name for name, count in supporters.items() if count == len(self._by_id)}
        votes: dict[str, int] = {}
        for member in self._by_id.values():
            known = instead[1] if instead is not None and member is instead[0] else member.protocols
            choice = next((name for name in known if name in candidates), None)
            if choice is not None:
                votes[choice] = votes.get(choice, 0) + 1
        return max(votes, key=votes.__getitem__, default=None)

    def elect(self) -> bool:
        """See to it that the leader is one that has joined; false if nobody has."""
        leader = None if self.leader is None else self._by_id[self.leader]
        if leader is None or leader.join_waiter is None:
            joined = (member.member_id for member in self._by_id.values() if member.join_waiter is not None)
            elected = next(joined, None)
            if elected is None:
                return False
            self.leader = elected
        return True


class PendingIds:
    """Ids that were given out and not used yet (KIP-394), with the time when each lapses."""

    __slots__ = ("_lapses_ms", "_sweep_ms")

    def __init__(self) -> None:
        self._lapses_ms: dict[str, int] = {}
        self._sweep_ms: int | None = None

    def __len__(self) -> int:
        return len(self._lapses_ms)

    def __contains__(self, member_id: str) -> bool:
        return member_id in self._lapses_ms

    def give_out(self, member_id: str, lapses_ms: int) -> int | None:
        """One more; if there are too many, the oldest is forgotten. When to sweep, if that has changed."""
        if len(self._lapses_ms) >= PENDING_MAX:
            del self._lapses_ms[next(iter(self._lapses_ms))]
        self._lapses_ms[member_id] = lapses_ms
        if self._sweep_ms is not None and self._sweep_ms <= lapses_ms:
            return None
        self._sweep_ms = lapses_ms
        return lapses_ms

    def drop(self, member_id: str) -> None:
        """It is used, or will not be."""
        self._lapses_ms.pop(member_id, None)

    def sweep(self, now_ms: int) -> int | None:
        """Forget those whose time is over; when to sweep again."""
        self._lapses_ms = {member_id: lapses for member_id, lapses in self._lapses_ms.items() if lapses > now_ms}
        self._sweep_ms = None
        if self._lapses_ms:
            self._sweep_ms = max(min(self._lapses_ms.values()), now_ms + PENDING_SWEEP_MS)
        return self._sweep_ms


def record_bytes(value: ClassicGroupValue) -> int:
    """What the record of a group takes at most, roughly."""
    return sum(
        len(member.subscription)
        + len(member.assignment)
        + 3 * sum(map(len, (member.member_id, member.instance_id or "", member.client_id, member.client_host)))
        + ELEMENT_BYTES
        for member in value.members
    )


def bytes_of(protocols: Mapping[str, bytes]) -> int:
    """What these protocols take in memory, roughly."""
    return sum(len(name) + len(metadata) + ELEMENT_BYTES for name, metadata in protocols.items())


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen, besides what the record says, when the record is applied."""

    record: ClassicGroupMetadata
    effect: Callable[[], None]
    newcomers: Sequence[ClassicMember] = ()
    is_the_state: bool = True
    """What the record says is so; else it is only what a start would find."""
