"""What crowds of connections cost a broker process: memory, and the patience of an honest client beside them.

Idle connections, claims of large frames, slow and garbage senders: the attacks of `tests/hostile`, as figures. No row
is a test here: machines differ.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.attackers import (
    ASK_API_VERSIONS,
    Crowd,
    attacking,
    produce_start,
    resident_mib,
    sockets_allowed,
)
from support.honest import Honest, a_broker
from support.process import BrokerProcess

FRAME_SIZE_MAX = 104_857_600


def idle(broker: BrokerProcess, count: int) -> None:
    """Connections that have asked once."""
    before = resident_mib(broker.pid)
    with Crowd(broker.server) as crowd:
        began = time.monotonic()
        crowd.grow(count, ASK_API_VERSIONS)
        crowd.hear()
        took = time.monotonic() - began
        print(f"{count:6d} idle connections: {_growth(broker, before)}, made in {took:.1f} s")
        cpu_before, began = _cpu_s(broker), time.monotonic()
        time.sleep(10)
        share = (_cpu_s(broker) - cpu_before) / (time.monotonic() - began)
        print(f"{'':6} while they say nothing the broker uses {share * 100:.1f} % of a core")


def claims(broker: BrokerProcess, count: int, sent: int) -> None:
    """Connections that announce the largest frame and send little of it."""
    before = resident_mib(broker.pid)
    with Crowd(broker.server) as crowd:
        start = produce_start(FRAME_SIZE_MAX - 1)
        crowd.grow(count, start + bytes(sent - len(start)))
        time.sleep(1)
        print(f"{count:6d} claims of 100 MiB with {sent} bytes sent: {_growth(broker, before)}")


def beside_an_honest_client(broker: BrokerProcess, *, slow: int, garbage: int, seconds: float) -> None:
    """An honest client with acks=all, alone and then beside the attack."""
    honest = Honest(broker.server)
    honest.write(1000)
    _quantiles("an honest client alone", honest.latencies_s)
    before, alone = resident_mib(broker.pid), len(honest.latencies_s)
    over = threading.Event()
    writing = threading.Thread(target=honest.write_until, args=(over,))
    with attacking(broker.server, slow=slow, garbage_senders=garbage):
        writing.start()
        time.sleep(seconds)
        over.set()
        writing.join()
    _quantiles(f"beside {slow} slow and {garbage} garbage senders", honest.latencies_s[alone:])
    print(f"{'':6} {_growth(broker, before)}; acknowledged {len(honest.acknowledged)}, lost {len(honest.lost())}")


def _growth(broker: BrokerProcess, before: float) -> str:
    now = resident_mib(broker.pid)
    return f"resident {before:.1f} -> {now:.1f} MiB ({now - before:+.1f})"


def _cpu_s(broker: BrokerProcess) -> float:
    fields = Path(f"/proc/{broker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _quantiles(title: str, latencies_s: list[float]) -> None:
    ordered = statistics.quantiles(latencies_s, n=100)
    print(f"{title}: p50 {ordered[49] * 1000:.2f} ms, p99 {ordered[98] * 1000:.2f} ms of {len(latencies_s)}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the attack beside an honest client")
    options = parser.parse_args()
    allowed = sockets_allowed()
    with tempfile.TemporaryDirectory() as directory, a_broker(Path(directory)) as broker:
        idle(broker, min(10_000, allowed))
    for sent in (100, 9_000):
        with tempfile.TemporaryDirectory() as directory, a_broker(Path(directory)) as broker:
            claims(broker, 1000, sent)
    with tempfile.TemporaryDirectory() as directory, a_broker(Path(directory)) as broker:
        slow = min(5000, allowed - 1000)
        beside_an_honest_client(broker, slow=slow, garbage=1000, seconds=options.seconds)


if __name__ == "__main__":
    main()
