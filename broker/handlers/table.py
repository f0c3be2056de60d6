"""Which handler answers which API: the function of the API's name in the file of that name.

A handler is imported when the first request for it comes: its file brings the messages of its API along, and a broker
that is asked to produce and to fetch need not wait at its start for the other twenty.
"""

from collections.abc import Callable
from importlib import import_module

from ...protocol.apis import ApiKey

Handler = Callable[..., object]


class _Handlers(dict[ApiKey, Handler]):
    """By key of the API; those that were wanted so far."""

    def __missing__(self, key: ApiKey) -> Handler:
        name = key.name.lower()
        handler: Handler = getattr(import_module(f".{name}", __package__), name)
        self[key] = handler
        return handler


HANDLERS = _Handlers()
