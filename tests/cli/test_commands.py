"""What all commands share: options anywhere on the line, durations, examples."""

import pytest

from support.command_line import Stub, Tidelog
from tidelog.cli.commands import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("500ms", 0.5), ("1m", 60), ("1h30m", 5400), ("2d", 172800), ("2.5s", 2.5), ("7", 7), ("0.5", 0.5)],
)
def test_a_duration_is_a_number_with_units(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1x", "1h!", "1h 2m", "-1s", "1.2.3s", "ten"])
def test_anything_else_is_no_duration(text: str) -> None:
    assert seconds_of(text) is None


@pytest.mark.parametrize(
    "line",
    [
        ("-s", "{}", "topic", "ls"),
        ("topic", "-s", "{}", "ls"),
        ("topic", "ls", "-s", "{}"),
        ("topic", "ls", "--server={}"),
        ("topic", "ls", "-b", "{}"),
        ("topic", "ls", "--bootstrap-server", "{}"),
        ("topic", "ls", "-s", "tidelog://{}"),
        ("-s", "127.0.0.1:1", "topic", "ls", "-s", "{}"),
    ],
)
def test_the_server_may_be_named_anywhere_and_the_last_one_counts(
    tidelog: Tidelog, stub: Stub, line: tuple[str, ...]
) -> None:
    stub.cluster.create("orders")
    ended = tidelog(*(word.format(stub.server) for word in line), server="127.0.0.1:1")
    assert (ended.code, ended.err) == (0, "")
    assert "orders" in ended.out


def test_the_server_comes_from_the_environment_when_the_line_names_none(tidelog: Tidelog, stub: Stub) -> None:
    assert tidelog("topic", "ls", server=stub.server).code == 0


def test_kafkas_spellings_are_understood_but_not_advertised(tidelog: Tidelog) -> None:
    assert "--bootstrap-server" not in tidelog("topic", "ls", "--help").out


def test_a_server_that_is_no_address_is_a_usage_error(tidelog: Tidelog) -> None:
    ended = tidelog("topic", "ls", "-s", "http://localhost")
    assert ended.code == 2
    assert ended.err.startswith("error[TL-0002]: ")


@pytest.mark.parametrize("timeout", ["soon", "0", "-1s"])
def test_a_timeout_is_a_positive_duration(tidelog: Tidelog, timeout: str) -> None:
    assert "is not a duration" in tidelog("topic", "ls", "--timeout", timeout).err


@pytest.mark.parametrize("pair", ["retention.ms", "=1", ""])
def test_a_setting_is_a_name_and_a_value(tidelog: Tidelog, pair: str) -> None:
    assert "is not name=value" in tidelog("topic", "create", "t", "-c", pair).err


def test_an_option_may_come_from_its_variable(tidelog: Tidelog, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELOG_TOPIC_CREATE_PARTITIONS", "5")
    tidelog("topic", "create", "orders", server=stub.server)
    assert len(stub.cluster.topics["orders"].partitions) == 5
