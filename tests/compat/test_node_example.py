"""The example client in Node.js: the tide wire from its description, without anything of ours."""

import socket
import subprocess
from pathlib import Path

from support.clients.aio import AioClient
from support.clients.house import Clients, fresh_name, of_partition, read, write
from support.clients.model import EARLIEST, Sent

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "node" / "tide_client.mjs"
PATIENCE_S = 60.0
LINES_MAX = 150


def node(*words: str) -> "subprocess.CompletedProcess[str]":
    command = ["node", str(EXAMPLE), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def run(clients: Clients, topic: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return node(clients.broker.server, topic, *words)


def test_it_is_short_and_needs_nothing_but_node() -> None:
    lines = EXAMPLE.read_text().splitlines()
    assert len(lines) <= LINES_MAX
    assert all("'node:" in line for line in lines if line.startswith("import "))


def test_it_reads_what_it_has_written(clients: Clients) -> None:
    topic = fresh_name()
    done = run(clients, topic, "hello", "grüße", "")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"sent 3 records to {topic}[0] at offset 0",
        "read word 0: hello at offset 0",
        "read word 1: grüße at offset 1",
        "read word 2:  at offset 2",
    ]


def test_a_client_of_kafkas_wire_reads_what_it_has_written(clients: Clients) -> None:
    topic = clients.topic()
    assert run(clients, topic, *(f"value {number}" for number in range(200))).returncode == 0
    found = read(clients.open(AioClient), of_partition(topic, EARLIEST), 200)
    assert [(one.offset, one.key, one.value) for one in found] == [
        (number, b"word %d" % number, b"value %d" % number) for number in range(200)
    ]


def test_it_goes_on_behind_what_others_have_written(clients: Clients) -> None:
    topic = clients.topic()
    write(clients.open(AioClient), topic, [Sent(key=b"k", value=b"%d" % number) for number in range(300)])
    done = run(clients, topic, "last")
    assert done.stdout.splitlines() == [
        f"sent 1 records to {topic}[0] at offset 300",
        "read word 0: last at offset 300",
    ]


def test_without_something_to_send_it_says_what_it_wants() -> None:
    for words in ((), ("127.0.0.1:9092",), ("127.0.0.1:9092", "greetings")):
        done = node(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "usage: node tide_client.mjs HOST:PORT TOPIC WORD...\n"


def test_where_nobody_listens_it_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: nobody else gets the port meanwhile
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = node(address, "greetings", "hello")
    assert done.returncode == 1
    assert f"connect ECONNREFUSED {address}" in done.stderr


def test_it_says_why_it_was_refused(clients: Clients) -> None:
    """An error code of a partition, and one that refuses the whole request."""
    topic = clients.topic(max_message_bytes="100")
    refused = run(clients, topic, "x" * 200)
    assert refused.returncode != 0
    assert "error 10: " in refused.stderr
    nameless = run(clients, "no:colons", "x")
    assert nameless.returncode != 0
    assert "error 3: " in nameless.stderr
