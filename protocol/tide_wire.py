"""The tide wire: the messages in msgpack, record batches raw behind them. Its whole definition:

A connection opens with `PREFACE`. Each frame, in both directions, all integers big endian:

    u32 length of what follows | u32 length of the header | header (msgpack) | payload (raw bytes)

The header of a request is an array `[API name, correlation id, body]`, optionally with the client id as a fourth
element: a string by which the broker names the client in logs and quotas; a client that wants it sends it with every
request. The header of a response is `[correlation id, error code, body]`. An error code other than 0 means that the
request was refused as a whole; the body then holds at most `error_message`.

The body is a map from field names to values, as the message classes spell them. A field that is absent has its
default, a key that is not known is ignored, and so are further elements of the header: that is the whole versioning.
A uuid is 16 bytes, an array of structs is an array of maps, null is nil. Record batches are a pair `[position, size]`
into the payload; the pairs follow each other in the order of the fields and never overlap, for a broker stamps batches
where they lie.

Both sides speak an API as of its newest version, and carry the fields of all: a topic's name, which Kafka's newest
version lacks, travels beside its id. Bytes are not trusted: a value of the wrong type, a number that its field
cannot hold, a string of more than 32,767 bytes, or a pair outside the payload is a `MalformedMessage`, and what
msgpack may allocate is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NoReturn
from uuid import UUID

import msgpack

from .apis import BY_NAME, Api
from .errors import ErrorCode, MalformedMessage, NotServed, RequestRefused
from .fields import Kind, MessageField, fields_of, mould_of
from .primitives import (
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    UINT16_MAX,
    Buffer,
    read_uint32,
)
from .wire import ELEMENTS_MAX, REQUEST_SIZE_MAX, Request, RequestHeader

PREFACE: Final = b"TIDE\x01"
PRODUCE_STARTS: Final = (b"\x93\xa7Produce", b"\x94\xa7Produce")
"""How the header of a Produce begins: an array of three or four, and a str of seven bytes."""
"""The first bytes of a connection: the wire's name and its version. As a frame's length they would be 1.4 GB."""

REQUEST_ARRAY_COUNT_MAX = 1 << 16
"""msgpack allocates an array before it has seen its elements, and arrays may be nested a thousand deep."""
FIELDS_MAX = 1 << 10
"""Of one map: more than any message has, and room for what later versions may add."""
UNCOUNTED_SIZE_MAX = 64 << 10
"""Of a header so small the maps and arrays need not be counted, which costs a call each."""

_PREFIX = struct.Struct(">II")
_HEADER_START_SIZE = 16
"""More than the beginning of a response's header takes, up to its correlation id."""

_RANGES = {
    Kind.INT8: (INT8_MIN, INT8_MAX),
    Kind.INT16: (INT16_MIN, INT16_MAX),
    Kind.UINT16: (0, UINT16_MAX),
    Kind.INT32: (INT32_MIN, INT32_MAX),
    Kind.INT64: (INT64_MIN, INT64_MAX),
    Kind.ERROR: (INT16_MIN, INT16_MAX),
}
_ERRORS: Mapping[object, ErrorCode] = {code.value: code for code in ErrorCode}
_ABSENT: Final = object()


class TideWire:
    """Our own spelling of the messages."""

    __slots__ = ("_apis",)

    def __init__(self, apis: Mapping[str, Api] = BY_NAME) -> None:
        self._apis = apis
        """Which requests are known, by name; responses are read and written of any API."""

    @property
    def name(self) -> str:
        """For metrics and logs."""
        return "tide"

    start_size = 4 + len(PRODUCE_STARTS[0])

    def is_produce(self, start: bytes) -> bool:
        """By the shortest spelling, which is every client's; in any other it merely has to wait its turn."""
        return start[4:].startswith(PRODUCE_STARTS)

    def request_size_max(self, start: bytes) -> int | None:
        """None: what is not records has a length of its own, which is looked at before it is decoded."""
        del start
        return None

    def decode_request(self, frame: memoryview) -> Request:
        """Raises `MalformedMessage`."""
        header, payload = _read_header(
            frame, size_max=REQUEST_SIZE_MAX, count_max=REQUEST_ARRAY_COUNT_MAX, elements_max=ELEMENTS_MAX
        )
        name, correlation_id, body = header[:3]
        client_id = header[3] if len(header) > 3 else None
        if not isinstance(name, str):
            raise MalformedMessage("a request begins with the name of an API")
        if client_id is not None and not (isinstance(client_id, str) and _is_short(client_id)):
            raise MalformedMessage("a client id is a string, and a short one")
        api = self._apis.get(name)
        if api is None:
            raise NotServed(f"API {name[:100]!r} is not served (client id {client_id!r})")
        request = RequestHeader(
            api=api, version=api.versions.max, correlation_id=_correlation_id(correlation_id), client_id=client_id
        )
        return Request(request, _read_struct(api.request, body, payload))

    def encode_response(self, header: RequestHeader, response: object) -> list[Buffer]:
        """A frame; record batches by reference."""
        payload = _PayloadWriter()
        return _frame([header.correlation_id, 0, _write_struct(response, payload)], payload)

    def encode_refusal(self, header: RequestHeader, code: ErrorCode, message: str) -> list[Buffer]:
        """A response that is nothing but an error."""
        return _frame([header.correlation_id, int(code), {"error_message": message}], _PayloadWriter())

    def encode_request(self, header: RequestHeader, request: object) -> list[Buffer]:
        """A frame; record batches by reference."""
        payload = _PayloadWriter()
        parts: list[object] = [header.api.name, header.correlation_id, _write_struct(request, payload)]
        if header.client_id is not None:
            parts.append(header.client_id)
        return _frame(parts, payload)

    def correlation_id(self, frame: memoryview) -> int:
        """Of a response."""
        start = msgpack.Unpacker()
        start.feed(bytes(frame[4 : 4 + _HEADER_START_SIZE]))
        try:
            start.read_array_header()
            return _correlation_id(start.unpack())
        except (msgpack.UnpackException, ValueError) as error:
            raise MalformedMessage(f"header: {error or type(error).__name__}") from None

    def decode_response(self, header: RequestHeader, frame: memoryview) -> object:
        """Raises `MalformedMessage`, or `RequestRefused` if the broker refused the request as a whole."""
        parts, payload = _read_header(frame, size_max=len(frame), count_max=len(frame))
        _, code, body = parts[:3]
        if type(code) is not int or type(body) is not dict:
            raise MalformedMessage("a response is a correlation id, an error code and a map")
        if code != 0:
            message = body.get("error_message")
            raise RequestRefused(ErrorCode.of(code), message if type(message) is str else "")
        return _read_struct(header.api.response, body, payload)


class _PayloadReader:
    """The raw bytes behind a header, handed out slice by slice."""

    __slots__ = ("data", "end")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.end = 0

    def take(self, pair: object) -> memoryview:
        """The slice that a (position, size) pair names. It must lie behind all slices taken before."""
        if type(pair) is list and len(pair) == 2:
            position, size = pair
            if type(position) is int and type(size) is int:
                end = position + size
                if self.end <= position <= end <= len(self.data):
                    self.end = end
                    return self.data[position:end]
        raise MalformedMessage(
            f"records are no slice of a payload of which {self.end}/{len(self.data)} bytes are taken"
        )


class _PayloadWriter:
    """The raw bytes behind a header, gathered."""

    __slots__ = ("buffers", "size")

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.size = 0

    def put(self, data: Buffer) -> tuple[int, int]:
        """The (position, size) pair that names the data."""
        position, size = self.size, len(data)
        if size:
            self.buffers.append(data)
            self.size += size
        return position, size


Read = Callable[[object, _PayloadReader], object]
"""From what msgpack read to the value of a field."""
Write = Callable[[object, _PayloadWriter], object]
"""From the value of a field to what msgpack writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FieldCodec:
    name: str
    default: object
    read: Read
    write: Write | None
    """None: as it is."""


@cache
def _codecs_of(message: type) -> tuple[_FieldCodec, ...]:
    return tuple(
        _FieldCodec(name=field.name, default=field.default, read=_reader(message, field), write=_writer(field))
        for field in fields_of(message)
    )


def _read_struct(message: type, body: object, payload: _PayloadReader) -> object:
    if type(body) is not dict:
        raise MalformedMessage(f"{message.__name__} is no map")
    instance = mould_of(message)()
    get = body.get
    for codec in _codecs_of(message):
        raw = get(codec.name, _ABSENT)
        setattr(instance, codec.name, codec.default if raw is _ABSENT else codec.read(raw, payload))
    instance.__class__ = message
    return instance


def _write_struct(message: object, payload: _PayloadWriter) -> Mapping[str, object]:
    kind: type = type(message)
    body = {}
    for codec in _codecs_of(kind):
        value = getattr(message, codec.name)
        default = codec.default
        # An empty list, too, is like the empty tuple that is an array's default.
        if value is default or (value is not None and not len(value) if default == () else value == default):
            continue
        body[codec.name] = value if value is None or codec.write is None else codec.write(value, payload)
    return body


def _reader(message: type, field: MessageField) -> Read:
    """Reads a field and refuses what it cannot hold."""
    wire = field.wire
    label = f"{message.__name__}.{field.name}"
    one = _struct_reader(wire.struct) if wire.struct is not None else _SCALAR_READERS[wire.kind](label, wire.kind)
    if wire.is_array:
        one = _array_reader(label, one)
    if wire.nullable is None:
        return one

    def read_nullable(raw: object, payload: _PayloadReader) -> object:
        return None if raw is None else one(raw, payload)

    return read_nullable


def _struct_reader(message: type) -> Read:
    def read(raw: object, payload: _PayloadReader) -> object:
        return _read_struct(message, raw, payload)

    return read


def _array_reader(label: str, one: Read) -> Read:
    def read(raw: object, payload: _PayloadReader) -> object:
        if type(raw) is not list:
            _refuse(label, raw)
        return tuple([one(element, payload) for element in raw])

    return read


def _number_reader(label: str, kind: Kind) -> Read:
    low, high = _RANGES[kind]

    def read(raw: object, _payload: _PayloadReader) -> object:
        # A boolean is an int to Python, not to us.
        if type(raw) is not int or not low <= raw <= high:
            _refuse(label, raw)
        return raw

    return read


def _error_reader(label: str, kind: Kind) -> Read:
    number = _number_reader(label, kind)

    def read(raw: object, payload: _PayloadReader) -> object:
        code = number(raw, payload)
        return _ERRORS.get(code, code)

    return read


def _float_reader(label: str, _kind: Kind) -> Read:
    def read(raw: object, _payload: _PayloadReader) -> object:
        if type(raw) is float:
            return raw
        if type(raw) is int:
            return float(raw)
        return _refuse(label, raw)

    return read


def _uuid_reader(label: str, _kind: Kind) -> Read:
    def read(raw: object, _payload: _PayloadReader) -> object:
        if type(raw) is not bytes or len(raw) != 16:
            _refuse(label, raw)
        return UUID(bytes=raw)

    return read


def _type_reader(expected: type) -> Callable[[str, Kind], Read]:
    def make(label: str, _kind: Kind) -> Read:
        def read(raw: object, _payload: _PayloadReader) -> object:
            if type(raw) is not expected:
                _refuse(label, raw)
            return raw

        return read

    return make


def _text_reader(label: str, _kind: Kind) -> Read:
    def read(raw: object, _payload: _PayloadReader) -> object:
        if type(raw) is not str or not _is_short(raw):
            _refuse(label, raw)
        return raw

    return read


def _is_short(text: str) -> bool:
    """Whether the Kafka wire can say it in any version; the answer to somebody else may have to."""
    return len(text) <= INT16_MAX // 4 or len(text.encode()) <= INT16_MAX


def _records_reader(_label: str, _kind: Kind) -> Read:
    def read(raw: object, payload: _PayloadReader) -> object:
        return payload.take(raw)

    return read


_SCALAR_READERS: Mapping[Kind, Callable[[str, Kind], Read]] = {
    Kind.BOOLEAN: _type_reader(bool),
    Kind.INT8: _number_reader,
    Kind.INT16: _number_reader,
    Kind.UINT16: _number_reader,
    Kind.INT32: _number_reader,
    Kind.INT64: _number_reader,
    Kind.FLOAT64: _float_reader,
    Kind.ERROR: _error_reader,
    Kind.UUID: _uuid_reader,
    Kind.STRING: _text_reader,
    Kind.BYTES: _type_reader(bytes),
    Kind.RECORDS: _records_reader,
}


def _refuse(label: str, raw: object) -> NoReturn:
    # Only a number is shown: the text of a deeply nested array could itself exhaust the stack.
    shown = f" {raw}" if type(raw) is int else ""
    raise MalformedMessage(f"{label} cannot be the {type(raw).__name__}{shown}")


def _writer(field: MessageField) -> Write | None:
    wire = field.wire
    one: Write | None = None
    if wire.struct is not None:
        one = _write_struct
    elif wire.kind is Kind.UUID:
        one = _write_uuid
    elif wire.kind is Kind.RECORDS:
        one = _write_records
    if not wire.is_array or one is None:
        return one
    element = one

    def write_array(value: object, payload: _PayloadWriter) -> object:
        assert isinstance(value, Sequence)
        return [element(item, payload) for item in value]

    return write_array


def _write_uuid(value: object, _payload: _PayloadWriter) -> object:
    assert isinstance(value, UUID)
    return value.bytes


def _write_records(value: object, payload: _PayloadWriter) -> object:
    assert isinstance(value, Buffer)
    return payload.put(value)


def _correlation_id(raw: object) -> int:
    if type(raw) is int and INT32_MIN <= raw <= INT32_MAX:
        return raw
    _refuse("correlation id", raw)


def _frame(parts: Sequence[object], payload: _PayloadWriter) -> list[Buffer]:
    header = msgpack.packb(parts)
    return [_PREFIX.pack(4 + len(header) + payload.size, len(header)) + header, *payload.buffers]


class _Counter:
    """Refuses a header whose maps and arrays are too many, as they are made: an empty map is one byte, or 64."""

    __slots__ = ("_room",)

    def __init__(self, elements_max: int) -> None:
        self._room = elements_max

    def array(self, made: list[object]) -> list[object]:
        """One was made."""
        self._take(len(made))
        return made

    def map(self, made: dict[object, object]) -> dict[object, object]:
        """One was made."""
        self._take(1)
        return made

    def _take(self, count: int) -> None:
        self._room -= count
        if self._room < 0:
            raise ValueError("too many maps and elements of arrays")


def _read_header(
    frame: memoryview, *, size_max: int, count_max: int, elements_max: int | None = None
) -> tuple[list[object], _PayloadReader]:
    size, position = read_uint32(frame, 0)
    if size > size_max or size > len(frame) - position:
        raise MalformedMessage(f"a header of {size} bytes in a frame of {len(frame)}")
    end = position + size
    limits: dict[str, object] = {"max_array_len": min(size, count_max), "max_map_len": min(size, FIELDS_MAX)}
    if elements_max is not None and size > UNCOUNTED_SIZE_MAX:
        counter = _Counter(elements_max)
        limits |= {"list_hook": counter.array, "object_hook": counter.map, "ext_hook": _refuse_extension}
    try:
        header = msgpack.unpackb(frame[position:end], **limits)
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise MalformedMessage(f"header: {error or type(error).__name__}") from None
    if type(header) is not list or len(header) < 3:
        raise MalformedMessage("a header is an array of at least three elements")
    return header, _PayloadReader(frame[end:])


def _refuse_extension(code: int, _data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")
