"""The Kafka wire: Kafka's frames and headers around codecs that are compiled per (message, version).

Frame: int32 size | header | body. Request header: int16 API key | int16 version | int32 correlation id | nullable
string client id, and in flexible versions a section of tagged fields; the client id keeps its old two-byte length even
there. Response header: int32 correlation id, and in flexible versions tagged fields, except for ApiVersions, whose
response header never has them: its reader does not know yet what the broker speaks (KIP-511).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from .apis import DEFINED_BY_NAME, KAFKA_APIS, Api, ApiKey
from .codegen import UNREADABLE, Decode, Encode, decoder, encoder, skip_tags
from .errors import ErrorCode, MalformedMessage, NotServed, UnsupportedVersion
from .primitives import Buffer, read_int32
from .wire import ELEMENTS_MAX, REQUEST_SIZE_MAX, Request, RequestHeader

_REQUEST = struct.Struct(">hhih")
_RESPONSE_PREFIX = struct.Struct(">ii")
_FLEXIBLE_RESPONSE_PREFIX = struct.Struct(">iix")
_SIZE = struct.Struct(">i")
_UNSUPPORTED_VERSION = struct.pack(">h", ErrorCode.UNSUPPORTED_VERSION)


class KafkaWire:
    """Kafka's spelling of the messages."""

    __slots__ = ("_apis",)

    def __init__(self, apis: Mapping[ApiKey, Api] = KAFKA_APIS) -> None:
        self._apis = {int(key): api for key, api in apis.items() if api.is_kafkas}
        """Which requests are known, by key; responses are read and written of every API that is defined."""

    @property
    def name(self) -> str:
        """For metrics and logs."""
        return "kafka"

    start_size = 2

    def is_produce(self, start: bytes) -> bool:
        """A request begins with its API's key."""
        return int.from_bytes(start[:2], "big") == ApiKey.PRODUCE

    def request_size_max(self, start: bytes) -> int | None:
        """Only a Produce brings records."""
        return None if self.is_produce(start) else REQUEST_SIZE_MAX

    def decode_request(self, frame: memoryview) -> Request:
        """Raises `MalformedMessage`, `NotServed`, or `UnsupportedVersion` with the header."""
        try:
            header, position = _read_request_header(frame, self._apis)
        except UNREADABLE as error:
            raise MalformedMessage(f"request header: {error}") from None
        side = _broker_side(header.api.name, header.version)
        # What follows the body is ignored, as by Kafka: librdkafka leaves padding behind (docs/decisions/0005).
        return Request(header, _read_body(side, frame, position)[0])

    def encode_response(self, header: RequestHeader, response: object) -> list[Buffer]:
        """A frame; record batches by reference."""
        side = _broker_side(header.api.name, header.version)
        chunks = _write_body(side, response)
        prefix = side.response_prefix
        size = prefix.size - _SIZE.size + sum(map(len, chunks))
        chunks[0] = prefix.pack(size, header.correlation_id) + chunks[0]
        return chunks

    def encode_refusal(self, header: RequestHeader, code: ErrorCode, message: str) -> None:
        """None: Kafka has no response that is nothing but an error; the connection is closed instead."""
        return

    def encode_request(self, header: RequestHeader, request: object) -> list[Buffer]:
        """A frame; record batches by reference."""
        side = _client_side(header.api.name, header.version)
        chunks = _write_body(side, request)
        client_id = b"" if header.client_id is None else header.client_id.encode()
        length = -1 if header.client_id is None else len(client_id)
        head = _REQUEST.pack(header.api.key, header.version, header.correlation_id, length) + client_id
        if side.flexible:
            head += b"\x00"
        chunks[0] = _SIZE.pack(len(head) + sum(map(len, chunks))) + head + chunks[0]
        return chunks

    def correlation_id(self, frame: memoryview) -> int:
        """Of a response."""
        return read_int32(frame, 0)[0]

    def decode_response(self, header: RequestHeader, frame: memoryview) -> object:
        """Raises `MalformedMessage`."""
        side = _client_side(header.api.name, header.version)
        position = read_int32(frame, 0)[1]
        if side.response_prefix is _FLEXIBLE_RESPONSE_PREFIX:
            position = skip_tags(frame, position)
        try:
            return _read_all(side, frame, position)
        except MalformedMessage:
            # A broker that does not know the version of an ApiVersions request answers as of version 0 (KIP-511). No
            # such answer can be read as of another version: it lacks throttle_time_ms.
            if header.api.key is ApiKey.API_VERSIONS and frame[position : position + 2] == _UNSUPPORTED_VERSION:
                return _read_all(_client_side(header.api.name, 0), frame, position)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """How one version of one API is read and written by the broker, or by a client."""

    label: str
    flexible: bool
    response_prefix: struct.Struct
    decode: Decode
    encode: Encode


@cache
def _broker_side(name: str, version: int) -> _Side:
    api = DEFINED_BY_NAME[name]
    return _side(api, version, reads=api.request, writes=api.response, elements_max=ELEMENTS_MAX)


@cache
def _client_side(name: str, version: int) -> _Side:
    api = DEFINED_BY_NAME[name]
    return _side(api, version, reads=api.response, writes=api.request)


def _side(api: Api, version: int, *, reads: type, writes: type, elements_max: int | None = None) -> _Side:
    assert version in api.versions, f"{api.name} v{version}: bytes from outside must not fill the cache"
    flexible = api.is_flexible(version)
    has_tags = flexible and api.key is not ApiKey.API_VERSIONS
    return _Side(
        label=f"{api.name} v{version}",
        flexible=flexible,
        response_prefix=_FLEXIBLE_RESPONSE_PREFIX if has_tags else _RESPONSE_PREFIX,
        decode=decoder(reads, version, flexible, elements_max=elements_max),
        encode=encoder(writes, version, flexible),
    )


def _read_request_header(frame: memoryview, apis: Mapping[int, Api]) -> tuple[RequestHeader, int]:
    key, version, correlation_id, length = _REQUEST.unpack_from(frame)
    position = _REQUEST.size
    client_id = None
    if length != -1:
        end = position + length
        if not position <= end <= len(frame):
            raise MalformedMessage(f"a client id of {length} bytes in a frame of {len(frame)}")
        client_id = str(frame[position:end], "utf-8")
        position = end
    api = apis.get(key)
    if api is None:
        raise NotServed(f"API key {key} is not served (version {version}, client id {client_id!r})")
    header = RequestHeader(api=api, version=version, correlation_id=correlation_id, client_id=client_id)
    if version not in api.versions:
        raise UnsupportedVersion(key, version, header, client_id=client_id)
    if api.is_flexible(version):
        position = skip_tags(frame, position) if frame[position] else position + 1
    return header, position


def _read_body(side: _Side, frame: memoryview, position: int) -> tuple[object, int]:
    try:
        return side.decode(frame, position)
    except UNREADABLE as error:
        raise MalformedMessage(f"{side.label}: {error}") from None


def _read_all(side: _Side, frame: memoryview, position: int) -> object:
    body, position = _read_body(side, frame, position)
    if position != len(frame):
        raise MalformedMessage(f"{side.label}: {len(frame) - position} bytes too many")
    return body


def _write_body(side: _Side, message: object) -> list[Buffer]:
    """The body in chunks: what lies between record batches joined, record batches as they are; never none."""
    parts: list[Buffer] = []
    marks: list[int] = []
    try:
        side.encode(message, parts, marks)
    except (struct.error, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{side.label}: {type(message).__name__} cannot be written: {error}") from error
    if not marks:
        return [b"".join(parts)]
    chunks: list[Buffer] = []
    start = 0
    for mark in marks:
        chunks.append(b"".join(parts[start:mark]))
        chunks.append(parts[mark])
        start = mark + 1
    if start < len(parts):
        chunks.append(b"".join(parts[start:]))
    return chunks
