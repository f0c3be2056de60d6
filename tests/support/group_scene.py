"""Three groups that read two topics, for the tests of the group commands."""

from .builders import a_batch
from .command_line import Stub
from .fake_groups import FakeGroup, FakeMember


def fill(stub: Stub, topic: str, *counts: int) -> None:
    """A topic with so many records in its partitions."""
    for log, count in zip(stub.cluster.create(topic, len(counts)).partitions, counts, strict=True):
        if count:
            log.append(a_batch([b"x"] * count))


def three_groups(stub: Stub) -> None:
    """`billing` is empty, `reports` classic and busy, `search` a consumer group in between two assignments."""
    fill(stub, "orders", 10, 20)
    fill(stub, "clicks", 100, 0)
    billing = FakeGroup(lag_ms=5_000)
    billing.commit("orders", 4, 20)
    reports = FakeGroup(
        members=[
            FakeMember(member_id="app-1", client_id="app", assignment={"orders": (0, 1)}),
            FakeMember(member_id="app-2", client_id="app", host="/10.0.0.2", instance_id="two"),
        ],
        lag_ms=90_000,
    )
    reports.commit("orders", 3)
    search = FakeGroup(
        members=[
            FakeMember(
                member_id="s-1",
                client_id="search",
                assignment={"clicks": (0,)},
                target={"clicks": (0,), "orders": (1,)},
            )
        ],
        kind="consumer",
    )
    stub.cluster.groups |= {"search": search, "reports": reports, "billing": billing}
