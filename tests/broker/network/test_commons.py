"""What connections have in common changes for all of them at once."""

import asyncio
import contextlib
import struct

import pytest

from support.bench import Bench, on_the_bench
from support.caller import a_caller
from tidelog.broker.handlers.table import HANDLERS
from tidelog.broker.request import RequestContext
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.messages.api_versions import ApiVersionsRequest
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)

ADDRESS = "127.0.0.1:9092"
WHO = ApiVersionsRequest(client_software_name="caller", client_software_version="1")
BROKER = 4


@on_the_bench
async def test_a_limit_that_is_changed_holds_for_whoever_comes_next(bench: Bench) -> None:
    """Kafka: max.connections.per.ip can be changed while the broker runs."""
    house = await bench.serve()
    async with a_caller(ADDRESS) as early:
        await early.ask(WHO)
        change = AlterableConfig(name="max.connections.per.ip", config_operation=0, value="1")
        resource = AlterConfigsResource(resource_type=BROKER, resource_name="1", configs=(change,))
        await house.ask(IncrementalAlterConfigsRequest(resources=(resource,)))
        async with a_caller(ADDRESS) as late:
            with contextlib.suppress(ConnectionResetError):
                assert await late.closed() == b""
        await early.ask(WHO)
    assert house.server.metrics.connections_rejected == {"max.connections.per.ip": 1}


@pytest.mark.parametrize(("floods", "request_s"), [(1, 0.0003), (1, 0.01), (20, 0.0003)])
def test_whoever_asks_much_at_once_lets_the_others_have_their_turn(
    floods: int, request_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer has to wait for a few of their requests, not for all of them."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        handled: list[str] = []
        handle = HANDLERS[ApiKey.API_VERSIONS]

        def take_time(context: RequestContext, *rest: object) -> object:
            handled.append(context.requester.peer)
            bench.loop.spend(request_s)
            return handle(context, *rest)

        who = struct.pack(">ihhih", 10, 18, 0, 1, -1)
        many = 4000 // floods
        commons = house.server._commons  # noqa: SLF001
        assert commons is not None
        crowd = [await asyncio.open_connection("127.0.0.1", 9092) for _ in range(floods)]
        async with a_caller(ADDRESS) as honest:
            crowd[0][1].write(who)
            answer_size = 4 + int.from_bytes(await crowd[0][0].readexactly(4), "big")
            await crowd[0][0].readexactly(answer_size - 4)
            monkeypatch.setitem(HANDLERS, ApiKey.API_VERSIONS, take_time)
            for _, writer in crowd:
                writer.write(who * many)
            while commons.busy < floods:
                assert len(handled) < floods * many / 2, "nobody is interrupted"
                await asyncio.sleep(0.0001)
            before = len(handled)
            await honest.ask(WHO)
            assert len(handled) - before < 4000 / 10
            for reader, _ in crowd:
                await reader.readexactly(answer_size * many)
            await asyncio.sleep(0.01)
            assert len(handled) == floods * many + 1
            assert commons.busy == 0
        for _, writer in crowd:
            writer.transport.abort()

    play()
