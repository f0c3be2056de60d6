"""`version` and `health` as commands with help pages."""

from support.command_line import Tidelog


def test_the_page_of_health_names_its_options_and_its_variable(tidelog: Tidelog) -> None:
    page = tidelog("health", "--help").out
    for word in ("--http", "--ready", "--timeout", "TIDELOG_HTTP"):
        assert word in page


def test_a_command_that_talks_to_no_broker_takes_no_server(tidelog: Tidelog) -> None:
    assert "--server" not in tidelog("version", "--help").out
    assert tidelog("version", "-s", "127.0.0.1:9092").code == 2


def test_the_address_may_come_from_the_environment(tidelog: Tidelog) -> None:
    ended = tidelog("health", "--timeout", "1s", "--http", "127.0.0.1:1")
    assert ended.code == 6
    assert "127.0.0.1:1" in ended.err
