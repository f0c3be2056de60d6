"""What connections have in common changes for all of them at once."""

import contextlib

from support.bench import Bench, on_the_bench
from support.caller import a_caller
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
