"""The health check: one question over HTTP, three kinds of answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import AF_INET, SOCK_STREAM, socket
from threading import Thread

import pytest

from tidelog.cli import health
from tidelog.cli.errors import Code, CommandFailed
from tidelog.cli.main import run


class Probes(BaseHTTPRequestHandler):
    """A broker's HTTP side that lives but is still recovering."""

    def do_GET(self) -> None:
        body = json.dumps({"reasons": ["recovering orders-0", "no listener"]}).encode()
        self.send_response(200 if self.path == "/live" else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing."""


@contextmanager
def http_side() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Probes) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def a_closed_port() -> str:
    with socket(AF_INET, SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_living_broker_is_live() -> None:
    with http_side() as address:
        assert health.ask(address, ready=False) == "live"
        assert health.ask(f"http://{address}/", ready=False) == "live"


def test_a_broker_that_is_not_ready_says_why() -> None:
    with http_side() as address, pytest.raises(CommandFailed, match="recovering orders-0, no listener") as caught:
        health.ask(address, ready=True)
    assert caught.value.code is Code.NOT_READY


def test_nobody_at_the_address_is_unreachable() -> None:
    with pytest.raises(CommandFailed, match="refused") as caught:
        health.ask(a_closed_port(), ready=True)
    assert caught.value.code is Code.UNREACHABLE


def test_silence_is_a_timeout() -> None:
    with socket(AF_INET, SOCK_STREAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(CommandFailed) as caught:
            health.ask(f"127.0.0.1:{silent.getsockname()[1]}", ready=False, timeout=0.05)
    assert caught.value.code is Code.TIMED_OUT


@pytest.mark.parametrize("address", ["localhost", ":1", "localhost:http", ""])
def test_an_address_without_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        health.ask(address, ready=False)
    assert caught.value.code is Code.USAGE


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert health.split("[::1]:9192") == ("::1", 9192)


def test_the_plain_spellings_take_the_quick_path_and_all_others_are_left_to_the_parser() -> None:
    with http_side() as address:
        assert health.quick([], {"TIDELOG_HTTP": address}) == "live"
        assert health.quick(["--http", address], {}) == "live"
    assert health.quick(["--help"], {}) is None
    assert health.quick(["--http"], {}) is None
    assert health.quick(["--timeout", "1s"], {}) is None


@pytest.mark.parametrize("option", [[], ["--timeout", "3s"]])
def test_the_exit_codes_are_the_same_on_both_paths(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with http_side() as address:
        assert run(["health", "--http", address, *option]) == 0
        assert run(["health", "--http", address, "--ready", *option]) == 1
    assert run(["health", "--http", a_closed_port(), *option]) == 6
    printed = capsys.readouterr()
    assert printed.out == "live\n"
    assert "error[TL-0105]" in printed.err
    assert "error[TL-0101]" in printed.err
