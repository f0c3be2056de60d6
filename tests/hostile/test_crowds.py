"""Crowds at the door of a real broker process: what they may cost, and that an honest client beside them loses nothing.

Reliability plan A15 and 3.5. The sizes are those of the release, but for the time that the mixed attack lasts.
"""

import os
import threading
import time
from pathlib import Path

import pytest

from support.attackers import ASK_API_VERSIONS, Crowd, attacking, produce_start, resident_mib, sockets_allowed
from support.honest import PATIENCE_S, Honest, a_broker

PROOF = bool(os.environ.get("TIDELOG_PROOF"))
FRAME_SIZE_MAX = 104_857_600
IDLE = 10_000
IDLE_KIB_EACH = 40 * 1024 / 10_000
CLAIMS = 1_000
CLAIMS_MIB_MAX = 32
SLOW, GARBAGE = 5_000, 1_000
ATTACK_S = 60.0 if PROOF else 6.0
ATTACK_MIB_MAX = 64


def test_ten_thousand_idle_connections_cost_little_and_hinder_nobody(tmp_path: Path) -> None:
    """40 MiB at most, after each of them has asked something."""
    count = min(IDLE, sockets_allowed())
    with a_broker(tmp_path) as broker, Crowd(broker.server) as crowd:
        honest = Honest(broker.server)
        honest.write(10)
        before = resident_mib(broker.pid)
        for _ in range(10):
            crowd.grow(count // 10, ASK_API_VERSIONS)
        crowd.hear()
        grown = resident_mib(broker.pid) - before
        assert grown * 1024 <= IDLE_KIB_EACH * count, f"{grown:.1f} MiB more for {count} connections"
        honest.write(50)
        honest.check(60)
        assert crowd.closed() == 0


@pytest.mark.parametrize("sent", [100, 9_000], ids=["a header", "nine kilobytes"])
def test_a_thousand_claims_of_the_largest_frame_cost_what_they_sent(tmp_path: Path, sent: int) -> None:
    """32 MiB at most. CVE-2022-34917, CVE-2026-111108 were this."""
    start = produce_start(FRAME_SIZE_MAX - 1)
    with a_broker(tmp_path) as broker, Crowd(broker.server) as crowd:
        honest = Honest(broker.server)
        honest.write(10)
        before = resident_mib(broker.pid)
        crowd.grow(CLAIMS, start + bytes(sent - len(start)))
        honest.write(50)
        grown = resident_mib(broker.pid) - before
        assert grown <= CLAIMS_MIB_MAX, f"{grown:.1f} MiB more"
        honest.check(60)


def test_slow_and_garbage_senders_cost_an_honest_client_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """They are sent away, the log tells of them in a few lines, memory stays, nothing is lost."""
    slow = min(SLOW, sockets_allowed() - GARBAGE)
    with a_broker(tmp_path, "connections.handshake.timeout.ms=3000") as broker:
        honest = Honest(broker.server)
        honest.write(10)
        before, log_before = resident_mib(broker.pid), len(broker.log_text().splitlines())
        over = threading.Event()
        writing = threading.Thread(target=honest.write_until, args=(over,))
        writing.start()
        try:
            with attacking(broker.server, slow=slow, garbage_senders=GARBAGE) as dawdlers:
                deadline = time.monotonic() + PATIENCE_S
                began = time.monotonic()
                while dawdlers.closed() < slow or time.monotonic() < began + ATTACK_S:
                    assert time.monotonic() < deadline + ATTACK_S, f"{dawdlers.closed()} of {slow} sent away"
                    time.sleep(0.5)
                took = time.monotonic() - began
        finally:
            over.set()
            writing.join()
        honest.check(20)
        grown = resident_mib(broker.pid) - before
        assert grown <= ATTACK_MIB_MAX, f"{grown:.1f} MiB more"
        lines = len(broker.log_text().splitlines()) - log_before
        assert lines < 100 + 20 * took, "a log that an attacker can fill"
