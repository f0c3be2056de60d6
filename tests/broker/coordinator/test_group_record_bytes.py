"""The bytes of group records: Kafka's own, both ways, and never a guess."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.broker.coordinator.decision import UnreadableRecord, UnwritableRecord
from tidelog.broker.coordinator.group_record_bytes import (
    RecordKind,
    decode,
    encode,
)
from tidelog.broker.coordinator.group_records import (
    NEVER,
    ClassicGroupMetadata,
    ClassicGroupValue,
    ClassicMemberFacts,
    ClassicMemberValue,
    ClassicProtocolFacts,
    CommittedOffset,
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    ConsumerMemberValue,
    CurrentAssignment,
    CurrentAssignmentValue,
    MemberState,
    OffsetCommitted,
    Record,
    ResolvedRegex,
    ResolvedRegexValue,
    TargetAssignment,
    TargetAssignmentEpoch,
)
from tidelog.protocol.primitives import ZERO_UUID

ORDERS = UUID("11111111-2222-3333-4444-555555555555")
ORDERS_HEX = "11111111222233334444555555555555"

EXAMPLES: dict[str, tuple[Record, str, str | None]] = {
    # What a Kafka 4.1.0 was seen to write: a group of one letter is ours, the value is its.
    "offset": (
        OffsetCommitted("g", "t", 7, CommittedOffset(offset=2217128, commit_ms=1758335260726)),
        "0001 0001 67 0001 74 00000007",
        "0004 000000000021d4a8 ffffffff 01 0000019964f2d836 00",
    ),
    "offset with everything": (
        OffsetCommitted(
            "grün",
            "orders",
            0,
            CommittedOffset(offset=1, leader_epoch=3, metadata="abc", commit_ms=2, topic_id=ORDERS),
        ),
        "0001 0005 6772c3bc6e 0006 6f7264657273 00000000",
        f"0004 0000000000000001 00000003 04 616263 0000000000000002 01 00 10 {ORDERS_HEX}",
    ),
    "offset with a time of its own": (
        OffsetCommitted("g", "t", 0, CommittedOffset(offset=1, metadata="ab", commit_ms=2, expire_ms=3)),
        "0001 0001 67 0001 74 00000000",
        "0001 0000000000000001 0002 6162 0000000000000002 0000000000000003",
    ),
    "no offset": (OffsetCommitted("g", "t", 1, None), "0001 0001 67 0001 74 00000001", None),
    "classic group": (
        ClassicGroupMetadata(
            "g",
            ClassicGroupValue(
                protocol_type="consumer",
                generation=5,
                protocol="range",
                leader="m",
                state_since_ms=9,
                members=(
                    ClassicMemberValue(
                        member_id="m",
                        instance_id=None,
                        client_id="c",
                        client_host="/h",
                        rebalance_timeout_ms=300_000,
                        session_timeout_ms=45_000,
                        subscription=b"\x01\x02",
                        assignment=b"\x03",
                    ),
                ),
            ),
        ),
        "0002 0001 67",
        (
            "0003 0008 636f6e73756d6572 00000005 0005 72616e6765 0001 6d 0000000000000009 00000001"
            "0001 6d ffff 0001 63 0002 2f68 000493e0 0000afc8 00000002 0102 00000001 03"
        ),
    ),
    "empty classic group": (
        ClassicGroupMetadata("g", ClassicGroupValue(state_since_ms=1)),
        "0002 0001 67",
        "0003 0000 00000000 ffff ffff 0000000000000001 00000000",
    ),
    "no classic group": (ClassicGroupMetadata("g", None), "0002 0001 67", None),
    "consumer group": (ConsumerGroupEpoch("g", 5, -2), "0003 0001 67", "0000 00000005 01 00 08 fffffffffffffffe"),
    "consumer group without a hash": (ConsumerGroupEpoch("g", 5), "0003 0001 67", "0000 00000005 00"),
    "no consumer group": (ConsumerGroupEpoch("g", None), "0003 0001 67", None),
    "member": (
        ConsumerGroupMember(
            "g",
            "m",
            ConsumerMemberValue(
                instance_id="i",
                client_id="c",
                client_host="/h",
                subscribed_topics=("a", "b"),
                rebalance_timeout_ms=1000,
                server_assignor="range",
            ),
        ),
        "0005 0001 67 0001 6d",
        "0000 02 69 00 02 63 03 2f68 03 02 61 02 62 00 000003e8 06 72616e6765 00",
    ),
    "classic member of a consumer group": (
        ConsumerGroupMember(
            "g",
            "m",
            ConsumerMemberValue(
                subscribed_regex="a.*",
                classic=ClassicMemberFacts(
                    session_timeout_ms=10, protocols=(ClassicProtocolFacts(name="range", metadata=b"\x01"),)
                ),
            ),
        ),
        "0005 0001 67 0001 6d",
        "0000 00 00 01 01 01 04 612e2a ffffffff 00 01 00 10 01 0000000a 02 06 72616e6765 02 01 00 00",
    ),
    "no member": (ConsumerGroupMember("g", "m", None), "0005 0001 67 0001 6d", None),
    "target epoch": (TargetAssignmentEpoch("g", 6), "0006 0001 67", "0000 00000006 00"),
    "no target": (TargetAssignmentEpoch("g", None), "0006 0001 67", None),
    "target": (
        TargetAssignment("g", "m", {ORDERS: (0, 2)}),
        "0007 0001 67 0001 6d",
        f"0000 02 {ORDERS_HEX} 03 00000000 00000002 00 00",
    ),
    "target of nothing": (TargetAssignment("g", "m", {}), "0007 0001 67 0001 6d", "0000 01 00"),
    "no target of the member": (TargetAssignment("g", "m", None), "0007 0001 67 0001 6d", None),
    "current": (
        CurrentAssignment(
            "g",
            "m",
            CurrentAssignmentValue(
                member_epoch=4,
                previous_epoch=3,
                state=MemberState.UNREVOKED_PARTITIONS,
                assigned={ORDERS: (0,)},
                pending_revocation={ORDERS: (1,)},
            ),
        ),
        "0008 0001 67 0001 6d",
        f"0000 00000004 00000003 01 02 {ORDERS_HEX} 02 00000000 00 02 {ORDERS_HEX} 02 00000001 00 00",
    ),
    "no current": (CurrentAssignment("g", "m", None), "0008 0001 67 0001 6d", None),
    "pattern": (
        ResolvedRegex("g", "a.*", ResolvedRegexValue(topics=("ab",), version=7, wall_ms=8)),
        "0010 0001 67 0003 612e2a",
        "0000 02 03 6162 0000000000000007 0000000000000008 00",
    ),
    "no pattern": (ResolvedRegex("g", "a.*", None), "0010 0001 67 0003 612e2a", None),
}


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize("name", EXAMPLES)
def test_records_are_written_as_kafka_writes_them(name: str) -> None:
    record, key, value = EXAMPLES[name]
    assert encode(record) == (hexed(key), None if value is None else hexed(value))


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_kafka_has_written_is_read(name: str) -> None:
    record, key, value = EXAMPLES[name]
    assert decode(hexed(key), None if value is None else hexed(value)) == record


KEY = hexed("0001 0001 67 0001 74 00000007")
OFFSET = CommittedOffset(offset=1, metadata="ab", commit_ms=2)


@pytest.mark.parametrize(
    ("value", "offset"),
    [
        ("0000 0000000000000001 0002 6162 0000000000000002", OFFSET),
        (
            "0001 0000000000000001 0002 6162 0000000000000002 0000000000000003",
            replace(OFFSET, expire_ms=3),
        ),
        ("0001 0000000000000001 0002 6162 0000000000000002 ffffffffffffffff", OFFSET),
        ("0002 0000000000000001 0002 6162 0000000000000002", OFFSET),
        ("0003 0000000000000001 00000009 0002 6162 0000000000000002", replace(OFFSET, leader_epoch=9)),
        ("0004 0000000000000001 00000009 03 6162 0000000000000002 00", replace(OFFSET, leader_epoch=9)),
        # A tagged field that a newer Kafka may have, behind the one that we know
        (
            f"0004 0000000000000001 ffffffff 03 6162 0000000000000002 02 00 10 {ORDERS_HEX} 05 02 aabb",
            replace(OFFSET, topic_id=ORDERS),
        ),
    ],
)
@pytest.mark.parametrize("key_version", [0, 1])
def test_offsets_of_every_version_are_read(value: str, offset: CommittedOffset, key_version: int) -> None:
    key = bytes((0, key_version)) + KEY[2:]
    assert decode(key, hexed(value)) == OffsetCommitted("g", "t", 7, offset)


MEMBER = ClassicMemberValue(member_id="m", session_timeout_ms=16, subscription=b"\x01", assignment=b"\x02")
GROUP = ClassicGroupValue(protocol_type="c", generation=5, protocol="r", leader="m", members=(MEMBER,))


@pytest.mark.parametrize(
    ("value", "group"),
    [
        (
            "0000 0001 63 00000005 0001 72 0001 6d 00000001 0001 6d 0000 0000 00000010 00000001 01 00000001 02",
            GROUP,
        ),
        (
            "0001 0001 63 00000005 0001 72 0001 6d 000000010001 6d 0000 0000 00000020 00000010 00000001 01 00000001 02",
            replace(GROUP, members=(replace(MEMBER, rebalance_timeout_ms=32),)),
        ),
        (
            "0002 0001 63 00000005 0001 72 0001 6d 0000000000000007 00000000",
            replace(GROUP, state_since_ms=7, members=()),
        ),
        (
            "0004 02 63 00000005 02 72 02 6d 0000000000000007 0202 6d 02 69 01 01 00000020 00000010 02 01 02 02 00 00",
            replace(
                GROUP,
                state_since_ms=7,
                members=(replace(MEMBER, instance_id="i", rebalance_timeout_ms=32),),
            ),
        ),
    ],
)
def test_classic_groups_of_every_version_are_read(value: str, group: ClassicGroupValue) -> None:
    assert decode(hexed("0002 0001 67"), hexed(value)) == ClassicGroupMetadata("g", group)


@pytest.mark.parametrize("number", [-1, 4, 9, 15, 17, 32767])
def test_nothing_is_held_of_kinds_that_are_not_known(number: int) -> None:
    key = number.to_bytes(2, "big", signed=True) + b"\x00\x01g and whatever else"
    assert decode(key, b"anything") is None
    assert decode(key, None) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", None),
        ("00", None),
        ("0001 0001 67 0001 74", None),
        ("0001 0001 67 0001 74 00000007 00", None),
        ("0002 ffff", None),
        ("0002 0002 c3", None),
        ("0002 0001 ff", None),
        ("0002 0001 67 00", None),
        ("0005 0001 67", None),
        ("0001 0001 67 0001 74 00000007", ""),
        ("0001 0001 67 0001 74 00000007", "0005 0000000000000001 00000009 01 0000000000000002 00"),
        ("0001 0001 67 0001 74 00000007", "ffff 0000000000000001 00000009 01 0000000000000002 00"),
        ("0001 0001 67 0001 74 00000007", "0003 0000000000000001 00000009 ffff 0000000000000002"),
        ("0001 0001 67 0001 74 00000007", "0003 0000000000000001 00000009 0000 0000000000000002 00"),
        ("0002 0001 67", "0003 0000 00000000 ffff ffff 0000000000000001 7fffffff"),
        ("0003 0001 67", "0001 00000005 00"),
        ("0008 0001 67 0001 6d", "0000 00000004 00000003 03 01 01 00"),  # a state that there is not
    ],
)
def test_what_cannot_be_read_is_never_guessed_at(key: str, value: str | None) -> None:
    with pytest.raises(UnreadableRecord):
        decode(hexed(key), None if value is None else hexed(value))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_record_cut_short_anywhere_is_unreadable(name: str) -> None:
    _, key, value = EXAMPLES[name]
    for size in range(len(hexed(key))):
        with pytest.raises(UnreadableRecord):
            decode(hexed(key)[:size], None)
    for size in range(len(hexed(value or ""))):
        with pytest.raises(UnreadableRecord):
            decode(hexed(key), hexed(value or "")[:size])


@given(st.sampled_from(RecordKind), st.binary(max_size=40), st.binary(max_size=60))
def test_garbage_is_unreadable_or_a_record_and_nothing_else(kind: RecordKind, key: bytes, value: bytes) -> None:
    try:
        decode(int(kind).to_bytes(2, "big") + key, value)
    except UnreadableRecord:
        pass


@pytest.mark.parametrize(
    "record",
    [
        OffsetCommitted("g" * 32768, "t", 0, None),
        OffsetCommitted("g", "t", 0, CommittedOffset(metadata="m" * 32768, expire_ms=1)),
        ClassicGroupMetadata("g", ClassicGroupValue(protocol_type="p" * 32768)),
        ResolvedRegex("g", "r" * 32768, None),
    ],
)
def test_what_the_format_has_no_room_for_is_said_to_be_so(record: Record) -> None:
    with pytest.raises(UnwritableRecord):
        encode(record)


INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
MAYBE_TEXT = st.none() | TEXT
PARTITIONS = st.dictionaries(st.uuids(), st.lists(INT32, max_size=3).map(tuple), max_size=3)
OFFSETS = st.builds(
    CommittedOffset,
    offset=INT64,
    leader_epoch=INT32,
    metadata=TEXT | st.text("x", min_size=120, max_size=300),
    commit_ms=INT64,
    expire_ms=st.just(NEVER),
    topic_id=st.uuids() | st.just(ZERO_UUID),
) | st.builds(CommittedOffset, offset=INT64, metadata=TEXT, commit_ms=INT64, expire_ms=INT64.filter(NEVER.__ne__))
CLASSIC_MEMBERS = st.builds(
    ClassicMemberValue,
    member_id=TEXT,
    instance_id=MAYBE_TEXT,
    client_id=TEXT,
    client_host=TEXT,
    rebalance_timeout_ms=INT32,
    session_timeout_ms=INT32,
    subscription=st.binary(max_size=300),
    assignment=st.binary(max_size=20),
)
CLASSIC_GROUPS = st.builds(
    ClassicGroupValue,
    protocol_type=TEXT,
    generation=INT32,
    protocol=MAYBE_TEXT,
    leader=MAYBE_TEXT,
    state_since_ms=INT64,
    members=st.lists(CLASSIC_MEMBERS, max_size=3).map(tuple),
)
CLASSIC_FACTS = st.builds(
    ClassicMemberFacts,
    session_timeout_ms=INT32,
    protocols=st.lists(st.builds(ClassicProtocolFacts, name=TEXT, metadata=st.binary(max_size=20)), max_size=3).map(
        tuple
    ),
)
CONSUMER_MEMBERS = st.builds(
    ConsumerMemberValue,
    instance_id=MAYBE_TEXT,
    rack_id=MAYBE_TEXT,
    client_id=TEXT,
    client_host=TEXT,
    subscribed_topics=st.lists(TEXT, max_size=3).map(tuple),
    subscribed_regex=MAYBE_TEXT,
    rebalance_timeout_ms=INT32,
    server_assignor=MAYBE_TEXT,
    classic=st.none() | CLASSIC_FACTS,
)
CURRENTS = st.builds(
    CurrentAssignmentValue,
    member_epoch=INT32,
    previous_epoch=INT32,
    state=st.sampled_from(MemberState),
    assigned=PARTITIONS,
    pending_revocation=PARTITIONS,
)
REGEXES = st.builds(ResolvedRegexValue, topics=st.lists(TEXT, max_size=3).map(tuple), version=INT64, wall_ms=INT64)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(OffsetCommitted, TEXT, TEXT, INT32, st.none() | OFFSETS),
    st.builds(ClassicGroupMetadata, TEXT, st.none() | CLASSIC_GROUPS),
    st.builds(ConsumerGroupEpoch, TEXT, INT32, INT64),
    st.builds(ConsumerGroupEpoch, TEXT, st.none()),
    st.builds(ConsumerGroupMember, TEXT, TEXT, st.none() | CONSUMER_MEMBERS),
    st.builds(TargetAssignmentEpoch, TEXT, st.none() | INT32),
    st.builds(TargetAssignment, TEXT, TEXT, st.none() | PARTITIONS),
    st.builds(CurrentAssignment, TEXT, TEXT, st.none() | CURRENTS),
    st.builds(ResolvedRegex, TEXT, TEXT, st.none() | REGEXES),
)


@given(RECORDS)
def test_what_is_written_is_read_back(record: Record) -> None:
    assert decode(*encode(record)) == record
