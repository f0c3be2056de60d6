"""Requests about committed offsets: what the groups of a shard allow, and what `Offsets` makes of it.

Who may commit is the group's to say [G-10, C-7]; a group that nobody ever joined is made by its first commit, when the
record of it is applied. Whoever is refused here has changed nothing.
"""

from collections.abc import Mapping, Sequence

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.offset_commit import OffsetCommitRequest
from ...protocol.messages.offset_delete import OffsetDeleteRequest
from ...protocol.messages.offset_fetch import OffsetFetchRequestGroup
from .classic_group import ClassicGroup
from .classic_state import DEAD, EMPTY, STABLE
from .consumer_group import ConsumerGroup
from .consumer_protocol import PROTOCOL_TYPE
from .decision import Decision, Instant, Reply, Timer, Waiter
from .group_records import OffsetCommitted, Record
from .group_settings import GroupSettings
from .offsets import Offsets
from .topics_view import TopicsView

TOPIC_IDS_SINCE = 10
"""The version of OffsetCommit and OffsetFetch from which on they call topics by their ids."""
GROUP_ID_NOT_FOUND_SINCE = 9
"""The version of OffsetCommit from which on clients know that code."""

Group = ClassicGroup | ConsumerGroup


class OffsetRequests:
    """The groups' side of offsets. `groups` is the shard's own table, which changes."""

    def __init__(
        self, groups: Mapping[str, Group], offsets: Offsets, settings: GroupSettings, topics: TopicsView
    ) -> None:
        self._groups = groups
        self._offsets = offsets
        self._settings = settings
        self._topics = topics

    def commit(self, request: OffsetCommitRequest, waiter: Waiter, at: Instant, *, version: int) -> Decision[Record]:
        """Commit all offsets of the request that can be; a sign of life, too. The id of the group may be empty."""
        commit = self._offsets.commit(
            request,
            topics=self._topics,
            at=at,
            by_id=version >= TOPIC_IDS_SINCE,
            metadata_max=self._settings.offset_metadata_max_bytes,
        )
        timers = self._check_commit(request, at, version) if commit.names_topics else ()
        return Decision(commit.records, [Reply(waiter, commit.response)], timers)

    def _check_commit(self, request: OffsetCommitRequest, at: Instant, version: int) -> Sequence[Timer]:
        generation = request.generation_id_or_member_epoch
        match self._groups.get(request.group_id):
            case ClassicGroup() as group:
                group.check_commit(request.member_id, request.group_instance_id, generation)
                return group.touch(request.member_id, at)
            case ConsumerGroup() as group:
                group.check_commit(request.member_id, generation, version=version)
            case None if generation >= 0:
                unknown = version >= GROUP_ID_NOT_FOUND_SINCE
                code = ErrorCode.GROUP_ID_NOT_FOUND if unknown else ErrorCode.ILLEGAL_GENERATION
                raise RequestRefused(code, f"There is no group {request.group_id!r}.")
        return ()

    def fetch(self, request: OffsetFetchRequestGroup, waiter: Waiter, *, version: int) -> Decision[Record]:
        """Tell a group's offsets [G-11]. Of a group that does not exist there are none, and that is no error."""
        group = self._groups.get(request.group_id)
        if isinstance(group, ConsumerGroup):
            group.check_fetch(request.member_id, request.member_epoch, version=version)
        told = self._offsets.fetch(request, topics=self._topics, by_id=version >= TOPIC_IDS_SINCE)
        return Decision(replies=[Reply(waiter, told)])

    def delete(self, request: OffsetDeleteRequest, waiter: Waiter) -> Decision[Record]:
        """Forget offsets of topics that the group does not read [G-12]."""
        if not request.group_id:
            raise RequestRefused(ErrorCode.INVALID_GROUP_ID, "The group has no id.")
        group = self._groups.get(request.group_id)
        if group is None or (isinstance(group, ClassicGroup) and group.state is DEAD):
            raise RequestRefused(ErrorCode.GROUP_ID_NOT_FOUND, f"There is no group {request.group_id!r}.")
        if not _says_what_it_reads(group):
            raise RequestRefused(ErrorCode.NON_EMPTY_GROUP, "The group has members, and does not say what they read.")
        deletion = self._offsets.delete(request, topics=self._topics, is_subscribed=group.subscribed_to)
        return Decision(deletion.records, [Reply(waiter, deletion.response)])

    def expired(self, group_id: str, wall_ms: int) -> Sequence[OffsetCommitted]:
        """What to write for offsets of a group that nobody cares about any more [G-12]."""
        group = self._groups.get(group_id)
        if isinstance(group, ClassicGroup) and (group.state not in {EMPTY, STABLE} or not _says_what_it_reads(group)):
            return ()
        return self._offsets.expired(
            group_id,
            wall_ms=wall_ms,
            retention_ms=self._settings.offsets_retention_ms,
            empty_since_ms=None if group is None else group.empty_since_ms,
            is_subscribed=_reads_nothing if group is None else group.subscribed_to,
        )


def _says_what_it_reads(group: Group) -> bool:
    """Members of another protocol than the consumers' say it in words of their own."""
    return not isinstance(group, ClassicGroup) or group.state is EMPTY or group.protocol_type == PROTOCOL_TYPE


def _reads_nothing(topic: str) -> bool:
    del topic
    return False
