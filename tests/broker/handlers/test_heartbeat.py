"""Heartbeat over the wire's messages [G-7]."""

from types import SimpleNamespace

import pytest

from support.bench import Bench, on_the_bench
from support.groups import Joined, join_alone
from support.house import House
from tidelog.broker.handlers.heartbeat import heartbeat
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse


async def beat(house: House, member: Joined, *, version: int = 4, instance: str | None = None) -> int:
    request = HeartbeatRequest(
        group_id=member.group_id,
        generation_id=member.generation,
        member_id=member.member_id,
        group_instance_id=instance,
    )
    response = await house.ask(request, version)
    assert isinstance(response, HeartbeatResponse)
    return response.error_code


@pytest.mark.parametrize("version", range(5))
@on_the_bench
async def test_every_version_keeps_a_member(bench: Bench, version: int) -> None:
    house = await bench.serve()
    member = await join_alone(house, "billing")
    assert await beat(house, member, version=version) == 0
    assert await beat(house, Joined("billing", member.member_id, 7), version=version) == ErrorCode.ILLEGAL_GENERATION
    assert await beat(house, Joined("billing", "nobody", 1), version=version) == ErrorCode.UNKNOWN_MEMBER_ID
    await house.server.stop()


@on_the_bench
async def test_a_group_has_a_name_and_exists(bench: Bench) -> None:
    """[G-7]"""
    house = await bench.serve()
    codes = [await beat(house, Joined(name, "me", 1)) for name in ("", "nothing")]
    assert codes == [ErrorCode.INVALID_GROUP_ID, ErrorCode.UNKNOWN_MEMBER_ID]
    await house.server.stop()


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NONE),
        (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.COORDINATOR_NOT_AVAILABLE),
    ],
)
def test_while_the_group_is_loaded_a_member_is_told_to_go_on(refusal: ErrorCode, told: ErrorCode) -> None:
    """[G-13] As Kafka does: its session begins anew afterwards."""
    groups = SimpleNamespace(submit=lambda *_, refused: refused(RequestRefused(refusal)))
    answer = heartbeat(None, SimpleNamespace(groups=groups), HeartbeatRequest(group_id="g"))  # type: ignore[arg-type]
    assert isinstance(answer, HeartbeatResponse)
    assert answer.error_code == told
