"""What a wire is: a spelling of the messages in bytes.

Handlers see requests and responses alone and never know which wire carried them. A frame handed to a wire is without
its length prefix; what a wire encodes is a complete frame, prefix included, as buffers to be written in a row. Record
batches are passed by reference in both directions: a decoded one is a slice of the frame and lives as long as the frame
may be kept; an encoded one must not change before it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from .apis import Api
from .errors import ErrorCode
from .primitives import Buffer

REQUEST_SIZE_MAX: Final = 8 << 20
"""Of a request, without the records that it brings. Bytes become objects, which take many times the room."""

ELEMENTS_MAX: Final = 1 << 18
"""Of all arrays of a request together: what a cluster's worth of partitions takes, and not all that memory holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeader:
    """Which API is called, and how the answer finds its way back."""

    api: Api
    version: int
    """On the tide wire always the API's newest."""
    correlation_id: int
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded request."""

    header: RequestHeader
    body: object
    """An instance of `header.api.request`."""


class Wire(Protocol):
    """A spelling of the messages in bytes. It holds no state: one instance serves all connections."""

    @property
    def name(self) -> str:
        """For metrics and logs."""
        ...

    @property
    def start_size(self) -> int:
        """How many bytes of a frame tell whether it is a Produce; no request is shorter."""
        ...

    def is_produce(self, start: bytes) -> bool:
        """Whether a request of this beginning is one."""
        ...

    def request_size_max(self, start: bytes) -> int | None:
        """The most bytes that a request of this beginning may have; None if the frame's own limit will do."""
        ...

    def decode_request(self, frame: memoryview) -> Request:
        """Raises `ProtocolError`; `UnsupportedVersion` carries the header that could still be read."""
        ...

    def encode_response(self, header: RequestHeader, response: object) -> list[Buffer]:
        """The answer to the request with this header."""
        ...

    def encode_refusal(self, header: RequestHeader, code: ErrorCode, message: str) -> list[Buffer] | None:
        """An answer that is nothing but an error; None if the wire has none and the connection must be closed."""
        ...

    def encode_request(self, header: RequestHeader, request: object) -> list[Buffer]:
        """A client's side of `decode_request`."""
        ...

    def correlation_id(self, frame: memoryview) -> int:
        """Of a response, so that a client finds the header of its request."""
        ...

    def decode_response(self, header: RequestHeader, frame: memoryview) -> object:
        """The answer to the request with this header. Raises `ProtocolError`, or `RequestRefused` for a refusal."""
        ...
