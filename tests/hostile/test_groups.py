"""Strangers who begin ever new groups, members and offsets at a real broker, and an honest group beside them."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from confluent_kafka import Consumer

from support.attackers import resident_mib
from support.honest import PATIENCE_S, TOPIC, Honest, a_broker
from tidelog.protocol.apis import APIS, ApiKey
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.wire import RequestHeader

MIB = 1 << 20
ALLOWED_MIB = 64
SLACK_MIB = 48
"""What a busy broker grows by anyway, and by what its count of memory is wrong."""
AT_ONCE = 8
"""Requests of a stranger under way."""
FILLED_S = 6.0


def new_groups(number: int) -> object:
    """Commits for a group that nobody has heard of, with as many words as are allowed."""
    part = OffsetCommitRequestPartition(partition_index=0, committed_offset=1, committed_metadata="x" * 4096)
    topic = OffsetCommitRequestTopic(name=TOPIC, partitions=(part,))
    return OffsetCommitRequest(group_id=f"stranger-{number}", topics=(topic,))


def new_classic_members(number: int) -> object:
    """Joins another group, and says a lot."""
    protocol = JoinGroupRequestProtocol(name="mine", metadata=bytes(64 << 10))
    return JoinGroupRequest(
        group_id=f"talker-{number}", session_timeout_ms=1_800_000, protocol_type="strange", protocols=(protocol,)
    )


def new_consumers(number: int) -> object:
    """Joins one group as ever new members with long names, and leaves after each second time."""
    member_id = f"{number // 2:06}" + "🎉" * 7000
    joins = number % 2 == 0 or number % 4 == 1
    return ConsumerGroupHeartbeatRequest(
        group_id="crowd",
        member_id=member_id,
        member_epoch=0 if joins else -1,
        rebalance_timeout_ms=60_000 if joins else -1,
        subscribed_topic_names=(TOPIC, *(f"{number}-{index}" for index in range(100))) if joins else None,
        topic_partitions=() if joins else None,
    )


VERSIONS = {OffsetCommitRequest: 8, JoinGroupRequest: 3, ConsumerGroupHeartbeatRequest: 1}


def frames(make: Callable[[int], object]) -> Iterator[bytes]:
    """Requests without end."""
    for number in itertools.count():
        request = make(number)
        api = next(api for api in APIS.values() if api.request is type(request))
        assert api.key in (ApiKey.OFFSET_COMMIT, ApiKey.JOIN_GROUP, ApiKey.CONSUMER_GROUP_HEARTBEAT)
        header = RequestHeader(api=api, version=VERSIONS[type(request)], correlation_id=number)
        yield b"".join(KafkaWire().encode_request(header, request))


def attack(server: str, make: Callable[[int], object], over: threading.Event) -> None:
    """Ask without end, and take the answers."""
    host, port = server.rsplit(":", 1)
    with socket.create_connection((host, int(port)), PATIENCE_S) as line, line.makefile("rb") as answers:
        requests = frames(make)
        while not over.is_set():
            line.sendall(b"".join(itertools.islice(requests, AT_ONCE)))
            for _ in range(AT_ONCE):
                answers.read(int.from_bytes(answers.read(4), "big"))


def read(consumer: Consumer, count: int) -> int:
    """So many records, committed; how long the longest wait for one was, in milliseconds."""
    longest_s = 0.0
    for _ in range(count):
        began = time.monotonic()
        message = consumer.poll(PATIENCE_S)
        assert message is not None
        assert message.error() is None, message.error()
        longest_s = max(longest_s, time.monotonic() - began)
    consumer.commit(asynchronous=False)
    return int(longest_s * 1000)


def test_strangers_groups_take_no_more_memory_than_they_may_and_an_honest_group_reads_everything(
    tmp_path: Path,
) -> None:
    """A15: the honest group was there before; what is new has to wait, and is told so."""
    with a_broker(tmp_path, f"group.memory.max.bytes={ALLOWED_MIB * MIB}") as broker:
        honest = Honest(broker.server)
        honest.write(20)
        settings = {"bootstrap.servers": broker.server, "group.id": "honest", "auto.offset.reset": "earliest"}
        consumer = Consumer({**settings, "enable.auto.commit": False, "log_level": 0})
        consumer.subscribe([TOPIC])
        read(consumer, 20)
        before = resident_mib(broker.pid)
        over = threading.Event()
        kinds = (new_groups, new_classic_members, new_consumers)
        strangers = [threading.Thread(target=attack, args=(broker.server, kind, over)) for kind in kinds]
        for stranger in strangers:
            stranger.start()
        try:
            most = 0.0
            end = time.monotonic() + FILLED_S
            while time.monotonic() < end:
                honest.write(5)
                read(consumer, 5)
                most = max(most, resident_mib(broker.pid) - before)
        finally:
            over.set()
            for stranger in strangers:
                stranger.join()
        assert most <= ALLOWED_MIB + SLACK_MIB, f"{most:.1f} MiB more"
        assert broker.metric("tidelog_requests_total", api="JoinGroup", error="COORDINATOR_NOT_AVAILABLE") > 0
        honest.write(5)
        read(consumer, 5)
        consumer.close()
        honest.check(30)
