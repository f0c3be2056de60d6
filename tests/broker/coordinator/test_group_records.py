"""Records of groups: what they hold when nothing is said."""

from tidelog.broker.coordinator.group_records import CommittedOffset, MemberState
from tidelog.protocol.primitives import ZERO_UUID


def test_what_an_offset_does_not_say_is_unknown() -> None:
    offset = CommittedOffset(offset=5)
    assert (offset.leader_epoch, offset.metadata, offset.expire_ms, offset.topic_id) == (-1, "", -1, ZERO_UUID)


def test_states_have_kafkas_numbers() -> None:
    assert [state.value for state in MemberState] == [0, 1, 2]
