"""What a broker process does for librdkafka: bulk produce and consume, start, memory. `make bench`.

Each row is run in turn with librdkafka's own in-process mock broker (C, in memory) for as many rounds as asked; medians
and the ratio to it are printed. Every record that was acknowledged is counted again on the way out. No row is a test:
machines differ, and shared ones are noisy.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

TOPIC = "bench"
PATIENCE_S = 120.0


@dataclass
class Broker:
    """A `tidelog serve` of its own."""

    process: subprocess.Popen[str]
    address: str
    ready_s: float

    @classmethod
    def start(cls, data_dir: Path) -> "Broker":
        """Any free port; no HTTP."""
        command = [sys.executable, "-m", "tidelog", "serve", "--listen", "127.0.0.1:0", "--http", "off"]
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        ready_s = time.monotonic() - began
        return cls(process, line.split("kafka+tide ")[1].split(" ")[0], ready_s)

    def cpu_s(self) -> float:
        """Processor seconds so far, of the program and of the kernel for it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Memory that is in RAM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def produce(settings: dict[str, object], count: int, size: int, acks: str) -> float:
    """Seconds for `count` records of `size` random bytes, from the first call to the last acknowledgement."""
    acknowledged = 0

    def delivered(error: object, _: object) -> None:
        nonlocal acknowledged
        assert error is None, error
        acknowledged += 1

    producer = Producer(
        {**settings, "acks": acks, "linger.ms": 5, "batch.size": 1 << 20, "queue.buffering.max.messages": 2_000_000}
    )
    values = [os.urandom(size) for _ in range(1000)]
    producer.list_topics(TOPIC, timeout=PATIENCE_S)
    began = time.monotonic()
    for number in range(count):
        while True:
            try:
                producer.produce(TOPIC, values[number % 1000], on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.01)
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush(PATIENCE_S)
    took = time.monotonic() - began
    assert acknowledged == count, f"{acknowledged} of {count} acknowledged"
    return took


def consume(settings: dict[str, object], count: int) -> float:
    """Seconds to read `count` records from the beginning."""
    consumer = Consumer(
        {
            **settings,
            "group.id": "bench",
            "enable.auto.commit": False,
            # By default the client pauses for a second whenever 100,000 records are queued.
            "queued.min.messages": 5_000_000,
            "queued.max.messages.kbytes": 1 << 20,
        }
    )
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    read, began = 0, time.monotonic()
    while read < count:
        messages = consumer.consume(min(10_000, count - read), PATIENCE_S)
        assert messages, f"only {read} of {count} records"
        for message in messages:
            assert message.error() is None, message.error()
            assert message.offset() == read, "out of order"
            read += 1
    took = time.monotonic() - began
    consumer.close()
    return took


def row(size: int, acks: str, count: int, rounds: int) -> None:
    """One line of the table."""
    ours: list[float] = []
    mock: list[float] = []
    reads: list[float] = []
    cpu: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            broker = Broker.start(Path(directory) / "data")
            try:
                before = broker.cpu_s()
                ours.append(count / produce({"bootstrap.servers": broker.address}, count, size, acks))
                cpu.append((broker.cpu_s() - before) / (count * size / 1e9))
                reads.append(count / consume({"bootstrap.servers": broker.address}, count))
            finally:
                broker.stop()
        mock.append(count / produce({"test.mock.num.brokers": 1, "log_level": 0}, count, size, acks))
    durable = "fsync before ack" if acks == "all" else "page cache"
    print(
        f"{size:5d} B  acks={acks:3s} ({durable:16s})  produce {statistics.median(ours):11,.0f}/s"
        f"  mock {statistics.median(mock):11,.0f}/s  ratio {statistics.median(ours) / statistics.median(mock):4.2f}"
        f"  consume {statistics.median(reads):11,.0f}/s  broker CPU {statistics.median(cpu):4.2f} s/GB produced"
    )


def start_and_memory(rounds: int) -> None:
    """From the start of the process to its ready line, and what it holds then."""
    ready: list[float] = []
    memory: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            broker = Broker.start(Path(directory) / "data")
            ready.append(broker.ready_s * 1000)
            memory.append(broker.resident_mib())
            broker.stop()
    print(
        f"start to ready, process start included: median {statistics.median(ready):.0f} ms"
        f" ({min(ready):.0f} to {max(ready):.0f}); resident {statistics.median(memory):.1f} MiB"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=200, help="payload of each cell")
    options = parser.parse_args()
    start_and_memory(2 * options.rounds + 1)
    for size in (100, 1024):
        for acks in ("1", "all"):
            row(size, acks, options.megabytes * 1_000_000 // size, options.rounds)


if __name__ == "__main__":
    main()
