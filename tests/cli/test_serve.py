"""The process around a broker: its configuration, its one line, its signals, its failures."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket

import pytest

from support.command_line import Tidelog
from support.process import BrokerProcess
from tidelog.cli.serve import StopSignal

MIB = 1 << 20


@contextmanager
def serving(directory: Path, *words: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A broker on free ports that runs in `directory`, and its ready line."""
    ports = [] if "--listen" in words else ["--listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "tidelog", "serve", "--http", "127.0.0.1:0", *ports, *words]
    inherited = {name: value for name, value in os.environ.items() if name != "STATE_DIRECTORY"}
    with subprocess.Popen(
        command,
        cwd=directory,
        env=inherited | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        try:
            yield running, running.stdout.readline()
        finally:
            running.kill()


def ended(running: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    """Send a signal; the exit code, and what was printed since the ready line."""
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    return running.returncode, out, err


def test_one_line_on_stdout_says_where_to_connect(tmp_path: Path) -> None:
    with serving(tmp_path) as (running, line):
        assert re.fullmatch(
            r"tidelog \S+ ready in \d+ ms · kafka\+tide 127\.0\.0\.1:\d+ · http http://127\.0\.0\.1:\d+/metrics"
            r" · data \./tidelog-data\n",
            line,
        )
        code, out, err = ended(running, signal.SIGTERM)
    assert (code, out) == (0, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_gracefully(tmp_path: Path, number: int) -> None:
    with serving(tmp_path) as (running, _):
        code, _, err = ended(running, number)
    assert code == 0
    assert (tmp_path / "tidelog-data" / ".kafka_cleanshutdown").exists(), err


async def test_the_second_signal_ends_it_at_once() -> None:
    ends: list[int] = []
    stop = StopSignal(ends.append)
    stop.arrived(signal.SIGTERM)
    await stop.wait()
    assert ends == []
    stop.arrived(signal.SIGINT)
    assert ends == [130]


def test_every_listener_is_on_the_line_and_http_may_be_off(tmp_path: Path) -> None:
    listeners = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0@localhost:9999", "--http", "off"]
    with serving(tmp_path, *listeners) as (running, line):
        assert re.search(r"kafka\+tide 127\.0\.0\.1:\d+,127\.0\.0\.1:\d+ · http off · ", line)
        assert ended(running, signal.SIGTERM)[0] == 0


@pytest.mark.parametrize(
    ("words", "variables", "directory"),
    [
        ((), {}, "tidelog-data"),
        ((), {"STATE_DIRECTORY": "state"}, "state"),
        (("--data-dir", "here"), {"STATE_DIRECTORY": "state", "TIDELOG_CONFIG_DATA_DIR": "there"}, "here"),
    ],
)
def test_the_data_go_where_they_were_told_to(
    tmp_path: Path, words: tuple[str, ...], variables: dict[str, str], directory: str
) -> None:
    with serving(tmp_path, *words, **variables) as (running, line):
        assert line.endswith(f"data ./{directory}\n")
        ended(running, signal.SIGTERM)
    assert [path.name for path in tmp_path.iterdir()] == [directory]


def test_a_listener_that_others_can_reach_is_warned_of(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", "0.0.0.0:0") as (running, _):
        _, _, err = ended(running, signal.SIGTERM)
    assert "WARNING" in err
    assert "listener=0.0.0.0:0 is reachable from other machines, and there is no authentication yet" in err


def test_a_data_directory_in_use_is_one_line_and_no_traceback(broker: BrokerProcess) -> None:
    command = [sys.executable, "-m", "tidelog", "serve", "--listen", "127.0.0.1:0", "--http", "off"]
    done = subprocess.run(
        [*command, "--data-dir", str(broker.data_dir)], capture_output=True, timeout=30, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"^error\[TL-0403\]: .*locked by another process · .*--data-dir$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("option", ["--listen", "--http"])
def test_an_address_in_use_is_one_line_that_names_the_option(tmp_path: Path, option: str) -> None:
    with socket(AF_INET, SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving(tmp_path, option, address) as (running, line):
            _, err = running.communicate(timeout=30)
    assert (running.returncode, line) == (1, "")
    assert "error[TL-0402]: " in err
    assert option in err
    assert "Traceback" not in err


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with serving(tmp_path, "--data-dir", "file/data") as (running, _):
        _, err = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "error[TL-0403]: " in err


def test_settings_are_checked_and_printed_without_serving(tidelog: Tidelog, tmp_path: Path) -> None:
    path = tmp_path / "tidelog.toml"
    path.write_text("[num]\npartitions = 4\n")
    done = tidelog("serve", "-f", str(path), "--set", "log.segment.bytes=64MiB", "--check-config")
    assert done.code == 0
    assert done.out.splitlines() == [
        "log.segment.bytes  (--set)",
        f"num.partitions  ({path})",
        "the configuration is good: 2 settings, the rest are defaults",
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--set", "num.partition=4"), "did you mean num.partitions?"),
        (("--set", "num.partitions=0"), "at least 1"),
        (("--set", "num.partitions"), "expected KEY=VALUE"),
        (("--set", "log.retention.ms=1000"), "is not built yet"),
        (("--listen", "localhost:port"), "HOST:PORT"),
    ],
)
def test_a_setting_that_makes_no_sense_is_two_and_says_why(
    tidelog: Tidelog, words: tuple[str, ...], reason: str
) -> None:
    done = tidelog("serve", *words, "--check-config")
    assert done.code == 2
    assert done.err.startswith("error[TL-0401]: ")
    assert reason in done.err


def test_a_file_that_is_no_toml_is_named(tidelog: Tidelog, tmp_path: Path) -> None:
    for name, content in (("broken.toml", b"a = "), ("latin.toml", b"a = '\xe9'")):
        path = tmp_path / name
        path.write_bytes(content)
        done = tidelog("serve", "-f", str(path), "--check-config")
        assert done.code == 2
        assert name in done.err or "codec" in done.err


def test_what_the_broker_does_not_need_is_not_loaded() -> None:
    program = "import sys, tidelog.cli.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"rich", "prometheus_client", "cramjam", "uvicorn", "tidelog.client", "tidelog.cli.session"}


def test_it_starts_with_little_memory(broker: BrokerProcess) -> None:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    resident_kib = int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0])
    assert resident_kib * 1024 <= 60 * MIB
