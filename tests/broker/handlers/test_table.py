"""The table of handlers: complete, and nothing in it that is not offered."""

import inspect

import pytest

from tidelog.broker.handlers.table import HANDLERS
from tidelog.protocol.apis import APIS, ApiKey


def test_every_api_that_is_served_has_its_handler_and_no_other_has_one() -> None:
    assert set(HANDLERS) == set(APIS) == set(ApiKey)


@pytest.mark.parametrize("key", HANDLERS, ids=lambda key: key.name)
def test_a_handler_takes_the_request_that_its_api_brings(key: ApiKey) -> None:
    """A row that names the wrong handler would otherwise be noticed by the first client."""
    parameters = inspect.signature(HANDLERS[key]).parameters
    assert list(parameters) == ["context", "services", "request"]
    assert parameters["request"].annotation is APIS[key].request


def test_no_two_apis_share_a_handler() -> None:
    assert len(set(HANDLERS.values())) == len(HANDLERS)
