"""What consumer groups cost a broker process: the heartbeats of many members, and commits of many partitions.

Members of 1,000 groups send a heartbeat every three seconds over real sockets, each group in the classic protocol or in
the consumer protocol (KIP-848); what the broker process uses of a core is read from /proc. Then offsets of 100
partitions are committed, again and again: each commit is one batch in `__consumer_offsets`, and is answered when that
is on the disk. No row is a test: machines differ.
"""

import argparse
import asyncio
import os
import random
import statistics
import struct
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.attackers import sockets_allowed
from support.honest import a_broker
from support.process import BrokerProcess
from tidelog.client.membership import Identity, Membership, State
from tidelog.protocol.apis import api_of
from tidelog.protocol.batch import walk
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse
from tidelog.protocol.wire import RequestHeader

GROUPS = 1000
HEARTBEAT_S = 3.0
TOPIC = "orders"
PARTITIONS = 100
TICK_S = 0.01
WITHOUT_IDS = {JoinGroupRequest: 3, OffsetCommitRequest: 9}
"""Versions below the newest: a join that gives the member its id at once, and commits that name topics."""
SETTINGS = ("group.initial.rebalance.delay.ms=5000", "group.min.session.timeout.ms=6000")
ERROR_CODE_AT = 9
"""In the answers to both heartbeats: after the correlation id, no tags and the throttle time."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_WIRE = KafkaWire()


def header_of(request: object) -> RequestHeader:
    """For the version that is spoken here."""
    api = api_of(type(request))
    version = WITHOUT_IDS.get(type(request), api.versions.max)
    return RequestHeader(api=api, version=version, correlation_id=1, client_id="bench")


def frame_of(request: object) -> bytes:
    """A whole request."""
    return b"".join(_WIRE.encode_request(header_of(request), request))


class Line(asyncio.Protocol):
    """A connection, whose answers come in the order of the requests."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, asyncio.Future[bytes] | None]] = deque()
        self._received = b""
        self.latencies_s: list[float] = []
        self.errors = 0
        self._news: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, address: str) -> "Line":
        """Connect."""
        host, port = address.rsplit(":", 1)
        _, line = await asyncio.get_running_loop().create_connection(cls, host, int(port))
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, frame: bytes) -> None:
        """A request whose answer is only looked at for an error."""
        self._waiting.append((time.perf_counter(), None))
        self.transport.write(frame)

    async def heard(self) -> None:
        """Until something has come."""
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    async def ask(self, request: object) -> object:
        """A request, and its answer."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((0.0, answer))
        self.transport.write(frame_of(request))
        return _WIRE.decode_response(header_of(request), memoryview(await answer))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        data = self._received + data
        position = 0
        while len(data) - position >= 4:
            (size,) = struct.unpack_from(">i", data, position)
            if len(data) - position - 4 < size:
                break
            frame = data[position + 4 : position + 4 + size]
            position += 4 + size
            sent, answer = self._waiting.popleft()
            if answer is not None:
                answer.set_result(frame)
                continue
            self.latencies_s.append(time.perf_counter() - sent)
            self.errors += frame[ERROR_CODE_AT : ERROR_CODE_AT + 2] != b"\0\0"
        self._received = data[position:]
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        assert not self._waiting, f"closed by the broker: {exc}"


async def classic(lines: list[Line], members: int) -> list[bytes]:
    """Form classic groups; each member's heartbeat."""

    async def form(group: int) -> list[bytes]:
        mine = [lines[number % len(lines)] for number in range(group, members, GROUPS)]
        join = JoinGroupRequest(
            group_id=f"group {group}",
            session_timeout_ms=45_000,
            rebalance_timeout_ms=60_000,
            protocol_type="bench",
            protocols=(JoinGroupRequestProtocol(name="range", metadata=bytes(20)),),
        )
        joined = await asyncio.gather(*(line.ask(join) for line in mine))
        asking = []
        for line, one in zip(mine, joined, strict=True):
            assert isinstance(one, JoinGroupResponse)
            parts = tuple(
                SyncGroupRequestAssignment(member_id=other.member_id, assignment=bytes(30)) for other in one.members
            )
            sync = SyncGroupRequest(
                protocol_type=join.protocol_type,
                protocol_name=join.protocols[0].name,
                group_id=join.group_id,
                generation_id=one.generation_id,
                member_id=one.member_id,
                assignments=parts,
            )
            asking.append(line.ask(sync))
        frames = []
        for one, synced in zip(joined, await asyncio.gather(*asking), strict=True):
            assert isinstance(one, JoinGroupResponse)
            assert isinstance(synced, SyncGroupResponse)
            assert not synced.error_code
            beat = HeartbeatRequest(group_id=join.group_id, generation_id=one.generation_id, member_id=one.member_id)
            frames.append(frame_of(beat))
        return frames

    formed = await asyncio.gather(*map(form, range(GROUPS)))
    return [formed[number % GROUPS][number // GROUPS] for number in range(members)]


async def modern(lines: list[Line], members: int) -> list[bytes]:
    """Form groups of the consumer protocol; each member's heartbeat."""
    loop = asyncio.get_running_loop()
    everybody = [
        Membership(
            Identity(group_id=f"modern {number % GROUPS}", member_id=f"member {number}", topics=(TOPIC,)),
            backoff=lambda failures: 0.1,
        )
        for number in range(members)
    ]

    async def beat(number: int) -> None:
        membership = everybody[number]
        answer = await lines[number % len(lines)].ask(membership.heartbeat(loop.time()))
        assert isinstance(answer, ConsumerGroupHeartbeatResponse)
        membership.answered(answer, loop.time())
        if membership.state is State.RECONCILING:
            membership.reconciled(membership.target, membership.target)

    while True:
        before = [(membership.epoch, membership.owned) for membership in everybody]
        for first in range(0, members, 2000):
            await asyncio.gather(*(beat(number) for number in range(first, min(first + 2000, members))))
        if before == [(membership.epoch, membership.owned) for membership in everybody]:
            break
    return [
        frame_of(
            ConsumerGroupHeartbeatRequest(
                group_id=one.identity.group_id, member_id=one.identity.member_id, member_epoch=one.epoch
            )
        )
        for one in everybody
    ]


async def heartbeats(broker: BrokerProcess, protocol: str, members: int, connections: int, seconds: float) -> None:
    """Members that have nothing to do but to be there."""
    # Groups form over a connection for each member: while a join waits, its connection is not read.
    lines = [await Line.open(broker.server) for _ in range(members)]
    frames = await (classic if protocol == "classic" else modern)(lines, members)
    for line in lines[connections:]:
        line.transport.abort()
    del lines[connections:]
    chance, loop = random.Random(1), asyncio.get_running_loop()
    began, cpu_before = loop.time(), _cpu_s(broker)
    due = sorted((began + chance.random() * HEARTBEAT_S, number) for number in range(members))
    queue = deque(due)
    while loop.time() - began < seconds:
        while queue[0][0] <= loop.time():
            at, number = queue.popleft()
            lines[number % connections].send(frames[number])
            queue.append((at + HEARTBEAT_S, number))
        await asyncio.sleep(TICK_S)
    await asyncio.sleep(0.5)
    took = loop.time() - began
    share = (_cpu_s(broker) - cpu_before) / took
    latencies = [latency for line in lines for latency in line.latencies_s]
    errors = sum(line.errors for line in lines)
    print(
        f"{members} members, {protocol} protocol, {connections} connections: {share * 100:.0f} % of a core for "
        f"{len(latencies) / took:.0f} heartbeats/s ({share * took / len(latencies) * 1e6:.0f} us each), "
        f"{_quantiles(latencies)}, errors {errors}",
        flush=True,
    )
    for line in lines:
        line.transport.abort()


async def commits(broker: BrokerProcess, connections: int, seconds: float) -> None:
    """Commits of 100 partitions by members of no group, one after the other on each connection."""
    lines = [await Line.open(broker.server) for _ in range(connections)]
    requests = [_commit(f"committing {number}") for number in range(connections)]
    for line, request in zip(lines, requests, strict=True):
        answer = await line.ask(request)
        assert isinstance(answer, OffsetCommitResponse)
        assert not any(one.error_code for topic in answer.topics for one in topic.partitions)
    frames = list(map(frame_of, requests))
    batches_before = _batches(broker)
    began, cpu_before = time.perf_counter(), _cpu_s(broker)

    async def again_and_again(line: Line, frame: bytes) -> None:
        while time.perf_counter() - began < seconds:
            count = len(line.latencies_s)
            line.send(frame)
            while len(line.latencies_s) == count:
                await line.heard()

    await asyncio.gather(*map(again_and_again, lines, frames))
    took, cpu = time.perf_counter() - began, _cpu_s(broker) - cpu_before
    latencies = [latency for line in lines for latency in line.latencies_s]
    batches = _batches(broker) - batches_before
    print(
        f"commits of {PARTITIONS} partitions, {connections} connections: {len(latencies) / took:.0f}/s, "
        f"{cpu / len(latencies) * 1e6:.0f} us of a core each, {_quantiles(latencies)}, "
        f"{batches / len(latencies):.2f} batches each",
        flush=True,
    )


def _commit(group_id: str) -> OffsetCommitRequest:
    parts = tuple(OffsetCommitRequestPartition(partition_index=one, committed_offset=7) for one in range(PARTITIONS))
    return OffsetCommitRequest(group_id=group_id, topics=(OffsetCommitRequestTopic(name=TOPIC, partitions=parts),))


def _batches(broker: BrokerProcess) -> int:
    """How many there are in the logs of the groups."""
    logs: Iterable[Path] = broker.data_dir.glob("__consumer_offsets-*/*.log")
    return sum(1 for log in logs for _ in walk(log.read_bytes()))


def _cpu_s(broker: BrokerProcess) -> float:
    fields = Path(f"/proc/{broker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _quantiles(latencies_s: list[float]) -> str:
    ordered = statistics.quantiles(latencies_s, n=100)
    return f"p50 {ordered[49] * 1000:.2f} ms, p99 {ordered[98] * 1000:.2f} ms"


async def create_topic(broker: BrokerProcess) -> None:
    """What is read and committed."""
    line = await Line.open(broker.server)
    topic = CreatableTopic(name=TOPIC, num_partitions=PARTITIONS, replication_factor=1)
    await line.ask(CreateTopicsRequest(topics=(topic,), timeout_ms=30_000))
    line.transport.abort()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each row")
    parser.add_argument("--connections", type=int, nargs="*", help="default: one for each member, and 100")
    options = parser.parse_args()
    allowed = sockets_allowed()
    members = min(options.members, allowed)
    counts = options.connections or [members, 100]
    for protocol in ("classic", "modern"):
        for connections in counts:
            with tempfile.TemporaryDirectory() as directory, a_broker(Path(directory), *SETTINGS) as broker:
                asyncio.run(create_topic(broker))
                asyncio.run(heartbeats(broker, protocol, members, connections, options.seconds))
    for connections in (1, 16):
        with tempfile.TemporaryDirectory() as directory, a_broker(Path(directory), *SETTINGS) as broker:
            asyncio.run(create_topic(broker))
            asyncio.run(commits(broker, connections, options.seconds))


if __name__ == "__main__":
    main()
