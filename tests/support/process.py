"""A real broker process on loopback, to be used, killed and started again."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 30.0
"""Generous: how quickly a broker starts is a figure of the benchmark, not of a test."""


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class BrokerProcess:
    """`python -m tidelog serve` with a data directory of its own."""

    def __init__(
        self, data_dir: Path, *settings: str, descriptors_max: int | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """It starts, answers and ends within `patience_s`, or that is a failure."""
        self.data_dir = data_dir
        self.server = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self.ready_line = ""
        self.ready_after_s = 0.0
        self.log_path = data_dir.with_suffix(".log")
        self._settings = settings
        self.under: list[str] = []
        """The command that the next start runs under: it must not be the broker's parent."""
        self._descriptors_max = descriptors_max
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        command = [sys.executable, "-m", "tidelog", "serve", "--listen", self.server, "--http", self.http]
        command += ["--data-dir", str(self.data_dir)]
        for setting in self._settings:
            command += ["--set", setting]
        if self._descriptors_max is not None:
            command = ["prlimit", f"--nofile={self._descriptors_max}:{self._descriptors_max}", *command]
        command = [*self.under, *command]
        began = time.monotonic()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=self.data_dir.parent)
        self.ready_line = self._first_line(began + self._patience_s)
        self.ready_after_s = time.monotonic() - began

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._reap()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return self._reap()

    def restart(self) -> None:
        """Start again on the same ports and data, after `kill` or `stop`."""
        if self._process is not None:
            self.stop()
        self.start()

    def log_text(self) -> str:
        """What it has written to stderr."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def metric(self, name: str, **labels: str) -> float:
        """What a scrape says of one series; 0 when it is not there."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=self._patience_s) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        samples = (sample for family in families for sample in family.samples)
        return next((one.value for one in samples if one.name == name and labels.items() <= one.labels.items()), 0.0)

    def environment(self) -> dict[str, str]:
        """For a command line that is to talk to it."""
        return {**os.environ, "TIDELOG_SERVER": self.server}

    def _reap(self) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self._patience_s)
        if process.poll() is None:
            process.kill()
            process.wait()
            raise AssertionError(f"the broker did not end by itself\n{self.log_text()}")
        assert process.stdout is not None
        process.stdout.close()
        return process.returncode

    def _first_line(self, deadline: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        line = self._process.stdout.readline().decode() if readable else ""
        if "ready" not in line:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the broker did not start: {line!r}\n{self.log_text()}")
        return line.strip()
