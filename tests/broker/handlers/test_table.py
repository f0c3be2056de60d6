"""The table of handlers: every API that is offered has its own, and no other has one."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tidelog.broker.handlers
from tidelog.broker.handlers.table import HANDLERS
from tidelog.protocol.apis import APIS, ApiKey

HELPERS = {"__init__", "table"}


def test_every_api_that_is_served_has_its_file_and_no_other_has_one() -> None:
    folder = Path(str(tidelog.broker.handlers.__file__)).parent
    assert {path.stem for path in folder.glob("*.py")} - HELPERS == {key.name.lower() for key in APIS}


@pytest.mark.parametrize("key", APIS, ids=lambda key: key.name)
def test_a_handler_takes_the_request_that_its_api_brings(key: ApiKey) -> None:
    """A handler of the wrong name would otherwise be noticed by the first client."""
    parameters = inspect.signature(HANDLERS[key]).parameters
    assert list(parameters) == ["context", "services", "request"]
    assert parameters["request"].annotation is APIS[key].request


def test_next_to_no_handler_and_message_is_imported_before_it_is_wanted() -> None:
    """The classes of all messages would cost a start more than all else that it does."""
    program = "import sys, tidelog.broker.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    folders = ("tidelog.broker.handlers.", "tidelog.protocol.messages.")
    files = {name.rpartition(".")[2] for name in done.stdout.split() if name.startswith(folders)}
    assert files == {"table", "api_versions", "fetch"}
