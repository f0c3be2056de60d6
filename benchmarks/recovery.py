"""How long a start takes with very many partitions, after a clean stop and after none. `make bench` runs it.

Each start is a process of its own, from `exec` to its ready line. What lies beyond the checkpoints is the whole of what
an unclean start has to read; how small its batches are counts as much as how many bytes they are. No row is a test.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.many_logs import fill, spread
from support.process import BrokerProcess

PATIENCE_S = 300.0
"""On a busy disk a thousand logs take their time to be opened and closed."""

TOPIC = "bench"
MIB = 1 << 20


def main() -> None:
    """Parse, build, start again and again, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=10)
    parser.add_argument("--segment-mib", type=int, default=16)
    parser.add_argument("--batch-bytes", type=int, default=16 * 1024)
    parser.add_argument("--beyond-kib", type=int, default=1024, help="of each partition, beyond its checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidelog-recovery-") as scratch:
        data = Path(scratch) / "data"
        empty = Start(Path(scratch) / "empty", killed=False)
        print(f"no partition          {empty.ready_s:6.2f} s  {empty.resident_mib:6.0f} MiB")
        build(data, options)
        gib = options.partitions * options.beyond_kib / 1024 / 1024
        for _ in range(options.rounds):
            report(f"unclean, {gib:.2f} GiB to read", Start(data, killed=True), empty)
        report("unclean, then a clean stop", Start(data, killed=False), empty)
        for _ in range(options.rounds):
            report("clean", Start(data, killed=False), empty)
        Start(data, killed=True)
        for _ in range(options.rounds):
            report("unclean, nothing to read", Start(data, killed=True), empty)


class Start:
    """What one start took, and the stop after it."""

    def __init__(self, data: Path, *, killed: bool) -> None:
        broker = BrokerProcess(data, patience_s=PATIENCE_S)
        broker.start()
        self.ready_s = broker.ready_after_s
        status = Path(f"/proc/{broker.pid}/status").read_text()
        self.resident_mib = int(status.split("VmRSS:")[1].split()[0]) / 1024
        self.descriptors = len(os.listdir(f"/proc/{broker.pid}/fd"))
        if killed:
            broker.kill()
        else:
            broker.stop()


def report(what: str, start: Start, empty: Start) -> None:
    """One line."""
    memory = f"{start.resident_mib:6.0f} MiB (+{start.resident_mib - empty.resident_mib:.0f})"
    print(f"{what:28} {start.ready_s:6.2f} s  {memory}  {start.descriptors} descriptors")


def build(data: Path, options: argparse.Namespace) -> None:
    """A topic of so many partitions, all of the same contents, as after `kill -9`."""
    broker = BrokerProcess(data, patience_s=PATIENCE_S)
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.server})
    topic = NewTopic(TOPIC, num_partitions=options.partitions, replication_factor=1)
    for future in admin.create_topics([topic]).values():
        future.result()
    broker.stop()
    template = fill(
        data,
        TOPIC,
        segments=options.segments,
        segment_bytes=options.segment_mib * MIB,
        batch_bytes=options.batch_bytes,
        beyond_bytes=options.beyond_kib * 1024,
    )
    spread(template, [data / f"{TOPIC}-{number}" for number in range(1, options.partitions)])


if __name__ == "__main__":
    main()
