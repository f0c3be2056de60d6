"""Every way in which a command ends: its exit code, and one line on stderr."""

import json
import os
import signal
import subprocess
import sys

import pytest

from support.command_line import Stub, Tidelog
from tidelog import __version__

TIDELOG = [sys.executable, "-m", "tidelog"]


def test_success_is_zero_and_says_nothing_on_stderr(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("topic", "ls", server=stub.server)
    assert (ended.code, ended.err) == (0, "")


def test_a_usage_error_is_two_and_names_the_help_page(tidelog: Tidelog) -> None:
    ended = tidelog("topic", "create")
    assert ended.code == 2
    assert ended.err == "error[TL-0002]: Missing argument 'TOPIC…' · see tidelog topic create --help\n"


@pytest.mark.parametrize("line", [("--nothing",), ("topic", "ls", "--nothing"), ("consume", "t", "-n", "x")])
def test_an_unknown_option_or_value_is_a_usage_error(tidelog: Tidelog, line: tuple[str, ...]) -> None:
    ended = tidelog(*line)
    assert ended.code == 2
    assert ended.err.startswith("error[TL-0002]: ")


def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(tidelog: Tidelog) -> None:
    assert "did you mean 'produce'?" in tidelog("prodcue", "t").err
    assert "did you mean 'describe'?" in tidelog("topic", "descrbe", "t").err
    assert "there are serve, topic" in tidelog("xyz").err


def test_no_command_prints_the_help_page_and_is_a_usage_error(tidelog: Tidelog) -> None:
    ended = tidelog()
    assert ended.code == 2
    assert "Commands:" in ended.err


def test_help_is_zero_by_either_name(tidelog: Tidelog) -> None:
    assert tidelog("--help").code == tidelog("topic", "rm", "-h").code == 0


def test_what_is_not_found_is_five(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("topic", "describe", "nope", server=stub.server)
    assert ended.code == 5
    assert ended.err == "error[TL-0201]: there is no topic 'nope' · tidelog topic ls shows those that exist\n"


def test_errors_are_json_where_the_answer_would_have_been(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("topic", "describe", "nope", "-o", "json", server=stub.server)
    error = json.loads(ended.err)["error"]
    assert (error["code"], error["exit_code"]) == ("TL-0201", 5)
    assert ended.out == ""


def test_nobody_at_the_address_is_six_and_known_at_once(tidelog: Tidelog) -> None:
    ended = tidelog("topic", "ls", "--timeout", "60s", server="127.0.0.1:1")
    assert ended.code == 6
    assert ended.err.startswith("error[TL-0101]: cannot connect to 127.0.0.1:1 (Connection refused) · ")


@pytest.mark.parametrize("line", [("version",), ("--version",), ("version", "--verbose")])
def test_the_version_is_printed_on_every_path(tidelog: Tidelog, line: tuple[str, ...]) -> None:
    assert tidelog(*line).out == f"tidelog {__version__}\n"


@pytest.mark.parametrize("command", ["version", "health"])
def test_the_quick_commands_import_neither_click_nor_rich_nor_asyncio(command: str) -> None:
    program = (
        "import sys; from tidelog.cli.main import run; "
        f"run(['{command}']); print(sorted({{'click', 'rich', 'asyncio'}} & set(sys.modules)))"
    )
    environment = {**os.environ, "TIDELOG_HTTP": "127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, check=True)
    assert done.stdout.decode().splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_ends_the_command_quietly_as_sigpipe_would(stub: Stub) -> None:
    log = " ".join(TIDELOG)
    script = f"seq 100000 | {log} produce numbers -q && {log} consume numbers -e | head -n 1; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "TIDELOG_SERVER": stub.server}
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environment, check=True)
    assert done.stderr == b""
    assert done.stdout.decode().splitlines()[-1] == str(128 + signal.SIGPIPE)


def test_output_that_cannot_be_written_is_an_error_and_no_traceback(stub: Stub, tidelog: Tidelog) -> None:
    tidelog("produce", "t", "-v", "first", server=stub.server)
    script = f"{' '.join(TIDELOG)} consume t -e -s {stub.server} > /dev/full"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == "error[TL-0001]: [Errno 28] No space left on device\n"


def test_ctrl_c_is_130_and_what_came_before_is_printed(stub: Stub, tidelog: Tidelog) -> None:
    tidelog("produce", "t", "-v", "first", server=stub.server)
    command = [*TIDELOG, "consume", "t", "-s", stub.server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"first\n"
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=30)
    assert (following.returncode, err) == (130, b"")


def test_completion_offers_the_commands() -> None:
    environment = {**os.environ, "_TIDELOG_COMPLETE": "bash_complete", "COMP_WORDS": "tidelog to", "COMP_CWORD": "1"}
    done = subprocess.run(TIDELOG, capture_output=True, env=environment, check=True)
    assert done.stdout == b"plain,topic\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_stream_that_is_closed_is_no_reason_to_fail(stub: Stub, closed: str) -> None:
    command = f'exec "{sys.executable}" -m tidelog topic ls -s {stub.server} {closed}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
