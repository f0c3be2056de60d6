"""Groups as an administrator sees and changes them."""

from contextlib import suppress

import pytest

from support.builders import a_batch
from support.fake_broker import HOST, PORT, FakeCluster, Fault, a_client, played
from support.fake_groups import FakeGroup, FakeMember, assignment_bytes
from tidelog.client import (
    GroupListing,
    GroupNotEmpty,
    GroupNotFound,
    GroupOffset,
    GroupsMissing,
    Refused,
    TopicNotFound,
    Unavailable,
)
from tidelog.client.config import Address
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.offset_commit import OffsetCommitRequest


def a_member(name: str = "m1", **assignment: tuple[int, ...]) -> FakeMember:
    return FakeMember(member_id=name, assignment=assignment)


def with_records(fake: FakeCluster, topic: str, *counts: int) -> None:
    for log, count in zip(fake.create(topic, len(counts)).partitions, counts, strict=True):
        if count:
            log.append(a_batch([b"x"] * count))


def test_groups_are_listed_by_name_and_filtered_by_the_broker() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups |= {
            "b": FakeGroup(members=[a_member()]),
            "a": FakeGroup(kind="consumer"),
            "c": FakeGroup(protocol_type=""),
        }
        async with a_client(fake) as client:
            listed = await client.admin.groups.list_all()
            assert listed == [
                GroupListing(group_id="a", kind="consumer", protocol_type="consumer", state="Empty"),
                GroupListing(group_id="b", kind="classic", protocol_type="consumer", state="Stable"),
                GroupListing(group_id="c", kind="classic", protocol_type="", state="Empty"),
            ]
            assert [group.group_id for group in await client.admin.groups.list_all(states=["Stable"])] == ["b"]
            assert [group.group_id for group in await client.admin.groups.list_all(kinds=["consumer"])] == ["a"]

    played(scenario)


def test_groups_that_can_be_told_of_come_with_the_error_that_others_cannot() -> None:
    async def scenario(fake: FakeCluster) -> None:
        with_records(fake, "orders", 10)
        app = fake.groups["app"] = FakeGroup()
        app.commit("orders", 4)
        fake.unavailable_partitions = (3, 17)
        async with a_client(fake) as client:
            with pytest.raises(GroupsMissing, match="__consumer_offsets-3, __consumer_offsets-17") as listing:
                await client.admin.groups.list_all()
            assert [group.group_id for group in listing.value.listed] == ["app"]
            with pytest.raises(GroupsMissing) as measuring:
                await client.admin.groups.lag()
            assert measuring.value.partitions == (3, 17)
            assert [at.lag for at in measuring.value.lags["app"].partitions] == [6]
            assert list(await client.admin.groups.lag(["app"])) == ["app"], "who is named is not missing"

    played(scenario)


def test_where_all_groups_are_missing_nobody_waits_for_them() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.unavailable_partitions = (0,)
        fake.fail(ApiKey.LIST_GROUPS, Fault(refuse=ErrorCode.COORDINATOR_NOT_AVAILABLE))
        async with a_client(fake) as client:
            with pytest.raises(GroupsMissing, match="__consumer_offsets-0") as listing:
                await client.admin.groups.list_all()
            assert listing.value.listed == []
            assert len(fake.seen(ApiKey.LIST_GROUPS)) == 1

    played(scenario)


@pytest.mark.parametrize(
    ("unavailable", "code"),
    [((0,), ErrorCode.COORDINATOR_LOAD_IN_PROGRESS), ((), ErrorCode.COORDINATOR_NOT_AVAILABLE)],
)
def test_a_list_that_is_refused_for_now_is_asked_for_again(unavailable: tuple[int, ...], code: ErrorCode) -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.fail(ApiKey.LIST_GROUPS, Fault(refuse=code))
        fake.unavailable_partitions = unavailable
        async with a_client(fake) as client:
            with suppress(GroupsMissing):
                await client.admin.groups.list_all()
            assert len(fake.seen(ApiKey.LIST_GROUPS)) == 2

    played(scenario)


def test_every_broker_is_asked_for_its_groups_and_a_group_at_its_coordinator() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups["app"] = FakeGroup(members=[a_member(orders=(0,))])
        async with a_client(fake) as client:
            assert [group.group_id for group in await client.admin.groups.list_all()] == ["app"]
            assert len(fake.seen(ApiKey.LIST_GROUPS)) == 2
            assert (await client.admin.groups.describe("app")).coordinator == Address(HOST, PORT + 1)
            asked = len(fake.seen(ApiKey.DESCRIBE_LAG))
            assert list(await client.admin.groups.lag()) == ["app"]
            assert len(fake.seen(ApiKey.DESCRIBE_LAG)) == asked + 2
            assert list(await client.admin.groups.lag(["app", "nope"])) == ["app"]
            assert len(fake.seen(ApiKey.DESCRIBE_LAG)) == asked + 3

    played(scenario, brokers=2)


def test_a_classic_groups_assignments_are_decoded_if_they_are_consumers() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups["app"] = FakeGroup(members=[a_member(orders=(1, 0), bills=(2,)), a_member("m2")])
        connect = FakeMember(member_id="w1", garbage=assignment_bytes({"x": (1,)}))
        fake.groups["connect"] = FakeGroup(members=[connect], protocol_type="connect")
        async with a_client(fake) as client:
            app = await client.admin.groups.describe("app")
            assert (app.kind, app.state, app.assignor, app.epoch) == ("classic", "Stable", "range", None)
            assert [member.assignment for member in app.members] == [{"bills": (2,), "orders": (0, 1)}, {}]
            assert [member.partition_count for member in app.members] == [3, 0]
            assert app.members[0].target is None
            assert (await client.admin.groups.describe("connect")).members[0].assignment == {}

    played(scenario)


@pytest.mark.parametrize(
    "garbage", [b"", b"\0", b"\0\1\0\0\0\1", b"\0\1\x7f\xff\xff\xff\0\1a\0\0\0\1", b"nonsense" * 9]
)
def test_an_assignment_that_is_none_is_nothing_rather_than_an_error(garbage: bytes) -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups["app"] = FakeGroup(members=[FakeMember(member_id="m", garbage=garbage)])
        async with a_client(fake) as client:
            assert (await client.admin.groups.describe("app")).members[0].assignment == {}

    played(scenario)


def test_a_consumer_group_tells_its_epochs_and_targets() -> None:
    async def scenario(fake: FakeCluster) -> None:
        member = FakeMember(member_id="m1", instance_id="i1", assignment={"orders": (0,)}, target={"orders": (0, 1)})
        fake.groups["app"] = FakeGroup(members=[member], kind="consumer")
        async with a_client(fake) as client:
            app = await client.admin.groups.describe("app")
            assert (app.kind, app.assignor, app.epoch, app.target_epoch) == ("consumer", "uniform", 5, 5)
            [told] = app.members
            assert (told.instance_id, told.epoch) == ("i1", 5)
            assert (told.assignment, told.target) == ({"orders": (0,)}, {"orders": (0, 1)})

    played(scenario)


def test_several_groups_are_described_at_once_and_one_that_is_not_there_is_left_out() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups |= {"a": FakeGroup(kind="consumer"), "b": FakeGroup()}
        async with a_client(fake) as client:
            assert list(await client.admin.groups.describe_many(["b", "nope", "a"])) == ["b", "a"]
            with pytest.raises(GroupNotFound, match="'nope'"):
                await client.admin.groups.describe("nope")

    played(scenario)


def test_committed_offsets_are_told_with_what_was_committed_with_them() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups["app"] = FakeGroup(offsets={("orders", 1): (7, 2, "here"), ("bills", 0): (0, -1, "")})
        async with a_client(fake) as client:
            assert await client.admin.groups.offsets("app") == {
                ("bills", 0): GroupOffset(0),
                ("orders", 1): GroupOffset(7, 2, "here"),
            }
            assert await client.admin.groups.offsets("nope") == {}

    played(scenario)


def test_lag_is_what_the_broker_says_and_what_nobody_knows_is_none() -> None:
    async def scenario(fake: FakeCluster) -> None:
        with_records(fake, "orders", 10, 10)
        fake.groups["app"] = FakeGroup(members=[a_member(orders=(0, 1))], lag_ms=5000)
        fake.groups["app"].commit("orders", 4)
        fake.groups["app"].commit("gone", 1)
        async with a_client(fake) as client:
            [app] = (await client.admin.groups.lag()).values()
            assert (app.state, app.member_count, app.last_commit_ms) == ("Stable", 1, 1_700_000_000_000)
            told = {
                (one.topic, one.partition): (one.committed, one.end_offset, one.lag, one.lag_ms)
                for one in app.partitions
            }
            assert told == {
                ("gone", 0): (1, None, None, None),
                ("orders", 0): (4, 10, 6, 5000),
                ("orders", 1): (None, 10, None, None),
            }
            [only] = (await client.admin.groups.lag(["app"], topics=["gone"])).values()
            assert [one.topic for one in only.partitions] == ["gone"]

    played(scenario)


def test_offsets_are_committed_as_by_nobody_and_only_for_a_group_without_members() -> None:
    async def scenario(fake: FakeCluster) -> None:
        with_records(fake, "orders", 10, 10)
        fake.groups["busy"] = FakeGroup(members=[a_member(orders=(0,))])
        async with a_client(fake) as client:
            groups = client.admin.groups
            await groups.alter_offsets("new", {("orders", 0): 3, ("orders", 1): GroupOffset(4, 2, "why")})
            assert fake.groups["new"].offsets == {("orders", 0): (3, -1, ""), ("orders", 1): (4, 2, "why")}
            [request] = fake.seen(ApiKey.OFFSET_COMMIT)
            assert isinstance(request, OffsetCommitRequest)
            assert request.topics[0].topic_id == fake.topics["orders"].topic_id
            with pytest.raises(GroupNotEmpty, match="'busy' has members"):
                await groups.alter_offsets("busy", {("orders", 0): 3})
            with pytest.raises(TopicNotFound, match=r"orders\[9\].*1 of 2 offsets were not committed"):
                await groups.alter_offsets("new", {("orders", 0): 3, ("orders", 9): 3})
            with pytest.raises(TopicNotFound, match="bills"):
                await groups.alter_offsets("new", {("bills", 0): 3})

    played(scenario)


def test_offsets_are_forgotten_unless_members_read_the_topic() -> None:
    async def scenario(fake: FakeCluster) -> None:
        app = fake.groups["app"] = FakeGroup(members=[a_member(orders=(0,))])
        app.commit("orders", 1)
        app.commit("bills", 1, 2)
        async with a_client(fake) as client:
            await client.admin.groups.delete_offsets("app", [("bills", 1)])
            assert set(app.offsets) == {("orders", 0), ("bills", 0)}
            with pytest.raises(GroupNotEmpty, match=r"orders\[0\]"):
                await client.admin.groups.delete_offsets("app", [("orders", 0)])
            with pytest.raises(GroupNotFound):
                await client.admin.groups.delete_offsets("nope", [("orders", 0)])

    played(scenario)


def test_a_group_without_members_is_deleted() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups |= {"old": FakeGroup(), "busy": FakeGroup(members=[a_member()])}
        async with a_client(fake) as client:
            await client.admin.groups.delete("old")
            with pytest.raises(GroupNotEmpty, match="'busy'"):
                await client.admin.groups.delete("busy")
            with pytest.raises(GroupNotFound, match="'old'"):
                await client.admin.groups.delete("old")
        assert set(fake.groups) == {"busy"}

    played(scenario)


def test_members_are_taken_out_by_their_ids_and_static_ones_by_their_instances() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups["app"] = FakeGroup(
            members=[a_member("m1"), a_member("m2"), FakeMember(member_id="m3", instance_id="i3")]
        )
        async with a_client(fake) as client:
            assert await client.admin.groups.remove_members("app", ["m1", "m9"], instance_ids=["i3"]) == ["m1", "i3"]
            assert [member.member_id for member in fake.groups["app"].members] == ["m2"]
            with pytest.raises(GroupNotFound):
                await client.admin.groups.remove_members("nope", ["m1"])

    played(scenario)


def test_a_coordinator_that_loads_or_moves_is_asked_again() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.groups["app"] = FakeGroup()
        fake.fail(ApiKey.FIND_COORDINATOR, Fault(refuse=ErrorCode.COORDINATOR_NOT_AVAILABLE))
        fake.fail(ApiKey.OFFSET_FETCH, Fault(refuse=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS), Fault(drop=True))
        fake.fail(ApiKey.LIST_GROUPS, Fault(refuse=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS))
        fake.fail(ApiKey.DELETE_GROUPS, Fault(refuse=ErrorCode.NOT_COORDINATOR))
        async with a_client(fake) as client:
            assert await client.admin.groups.offsets("app") == {}
            assert len(await client.admin.groups.list_all()) == 1
            await client.admin.groups.delete("app")

    played(scenario)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.GROUP_AUTHORIZATION_FAILED, Refused),
        (ErrorCode.INVALID_GROUP_ID, Refused),
        (ErrorCode.COORDINATOR_NOT_AVAILABLE, Unavailable),
    ],
)
def test_what_a_coordinator_refuses_names_the_group(code: ErrorCode, kind: type[Exception]) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake, timeout=1.0) as client:
            for api in (ApiKey.DELETE_GROUPS, ApiKey.OFFSET_FETCH, ApiKey.CONSUMER_GROUP_DESCRIBE):
                fake.fail(api, *[Fault(refuse=code)] * 50)
            for call in (client.admin.groups.delete, client.admin.groups.offsets, client.admin.groups.describe):
                with pytest.raises(kind, match=f"'app'.*{code.name}"):
                    await call("app")

    played(scenario)
