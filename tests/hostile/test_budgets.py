"""Budgets of a real broker process: memory and descriptors that attackers would take, and do not get [Q-3, F-6]."""

import os
import time
from pathlib import Path

from support.attackers import ASK_API_VERSIONS, Crowd, produce_start, resident_mib
from support.honest import PATIENCE_S, TOPIC, Honest, a_broker
from tidelog.protocol.apis import APIS, ApiKey
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tidelog.protocol.wire import RequestHeader

MIB = 1 << 20
SLACK_MIB = 32
"""What a busy broker grows by anyway: 22, give or take one, where it was measured."""
FETCH_VERSION = 12
"""The newest that names topics."""


def a_large_fetch(size: int) -> bytes:
    """Asks for so many bytes of the topic."""
    partition = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=size)
    request = FetchRequest(max_bytes=size, topics=(FetchTopic(topic=TOPIC, partitions=(partition,)),))
    header = RequestHeader(api=APIS[ApiKey.FETCH], version=FETCH_VERSION, correlation_id=1)
    return b"".join(KafkaWire().encode_request(header, request))


def test_half_requests_that_would_fill_the_memory_wait_and_honest_large_ones_get_through(tmp_path: Path) -> None:
    """Sixty times half a MiB of one where 16 MiB are allowed. Who holds memory and does not go on makes room."""
    with a_broker(tmp_path, f"queued.max.request.bytes={16 * MIB}") as broker, Crowd(broker.server) as crowd:
        honest = Honest(broker.server, value_size=900_000)
        honest.write(20)
        before = resident_mib(broker.pid)
        crowd.grow(60, produce_start(MIB))
        crowd.say(bytes(MIB // 2))
        deadline = time.monotonic() + PATIENCE_S
        while broker.metric("tidelog_connections_waiting", memory="request") == 0:
            assert time.monotonic() < deadline
        assert resident_mib(broker.pid) - before <= 16 + SLACK_MIB
        honest.write(20)
        assert resident_mib(broker.pid) - before <= 16 + SLACK_MIB
        honest.check(40)
        assert broker.metric("tidelog_connections_closed_total", reason="memory needed") > 0


def test_answers_that_nobody_takes_do_not_pile_up_and_honest_readers_get_theirs(tmp_path: Path) -> None:
    """A hundred readers of 32 MiB each who take nothing, where 48 MiB are allowed."""
    with a_broker(tmp_path, f"queued.max.response.bytes={48 * MIB}") as broker, Crowd(broker.server) as crowd:
        honest = Honest(broker.server, value_size=900_000)
        honest.write(45)
        before = resident_mib(broker.pid)
        crowd.grow(100, a_large_fetch(32 * MIB))
        deadline = time.monotonic() + PATIENCE_S
        while broker.metric("tidelog_response_memory_bytes") < 30 * MIB:
            assert time.monotonic() < deadline
        most = resident_mib(broker.pid) - before
        honest.check(45)
        most = max(most, resident_mib(broker.pid) - before)
        assert most <= 48 + SLACK_MIB, f"{most:.1f} MiB more"


def test_connections_leave_descriptors_for_the_logs(tmp_path: Path) -> None:
    """Whoever comes when they are used up is refused, in one line of the log, and segments are rolled all the while."""
    settings = ("log.segment.bytes=1MiB", "log.open.files.max=16")
    with a_broker(tmp_path, *settings, descriptors_max=256) as broker, Crowd(broker.server) as crowd:
        honest = Honest(broker.server, value_size=900_000)
        honest.write(2)
        crowd.grow(400)
        honest.write(20)
        assert 150 < 400 - crowd.closed() < 256
        assert len(os.listdir(f"/proc/{broker.pid}/fd")) < 256
        refused = [line for line in broker.log_text().splitlines() if "file descriptors reached" in line]
        assert 1 <= len(refused) < 10
        crowd.leave()
        honest.check(22)
        crowd.grow(1, ASK_API_VERSIONS)
        crowd.hear()


def test_who_comes_when_there_are_no_descriptors_waits_until_there_are(tmp_path: Path) -> None:
    """A7: accepting pauses, in a line of the log, and goes on; whoever is in is served all the while."""
    with a_broker(tmp_path, descriptors_max=64) as broker, Crowd(broker.server) as crowd:
        honest = Honest(broker.server)
        honest.write(10)
        crowd.grow(80, ASK_API_VERSIONS)
        deadline = time.monotonic() + PATIENCE_S
        while "no connection can be accepted for the moment" not in broker.log_text():
            assert time.monotonic() < deadline
        honest.write(10)
        assert crowd.closed() == 0, "they wait, and nobody hangs up on them"
        crowd.leave()
        crowd.grow(1, ASK_API_VERSIONS)
        crowd.hear()
        assert broker.metric("tidelog_accept_pauses_total") >= 1
        honest.check(20)
