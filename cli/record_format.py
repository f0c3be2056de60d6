"""How records look as text: `consume -f` and `--json`, `produce -F`. The tokens are kcat's, with rpk's %v beside %s.

   %t topic   %p partition   %o offset   %T timestamp in ms   %k key   %v %s value   %h headers
   %K %S sizes of key and value (-1: null)   %% a percent sign   and the escapes \\n \\t \\r \\0 \\\\ \\xHH
A format is compiled once into a function, so that a record costs one join.
"""

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\"}
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
TOKEN = re.compile(rb"%(.?)", re.DOTALL)

Headers = Sequence[tuple[str, bytes | None]]


class Readable(Protocol):
    """A consumed record, as far as it can be printed."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def partition(self) -> int:
        """The partition's index."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970."""

    @property
    def key(self) -> bytes | None:
        """The key's bytes."""

    @property
    def value(self) -> bytes | None:
        """The value's bytes."""

    @property
    def headers(self) -> Headers:
        """The headers, in order; a name may come twice."""


class Draft(NamedTuple):
    """A record to be produced, as the input said. A tuple, for there is one of them per line."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None


Render = Callable[[Readable], bytes]
Parse = Callable[[bytes], Draft]

TOKENS: dict[bytes, Render] = {
    b"t": lambda record: record.topic.encode(),
    b"p": lambda record: b"%d" % record.partition,
    b"o": lambda record: b"%d" % record.offset,
    b"T": lambda record: b"%d" % record.timestamp,
    b"k": lambda record: record.key or b"",
    b"v": lambda record: record.value or b"",
    b"s": lambda record: record.value or b"",
    b"h": lambda record: _headers_line(record.headers),
    b"K": lambda record: b"%d" % (-1 if record.key is None else len(record.key)),
    b"S": lambda record: b"%d" % (-1 if record.value is None else len(record.value)),
}


def unescape(text: str) -> bytes:
    """The bytes that a format's text means: UTF-8, and escapes. Raises ValueError at an escape that does not exist."""
    plain, *rest = ESCAPE.split(text)
    out = [plain.encode()]
    for escape, plain in zip(rest[::2], rest[1::2], strict=True):
        if escape[0] == "x" and len(escape) == 3:
            out.append(bytes([int(escape[1:], 16)]))
        elif escape in ESCAPES:
            out.append(ESCAPES[escape])
        else:
            raise ValueError(f"\\{escape} is no escape: there are \\n \\t \\r \\0 \\\\ \\xHH")
        out.append(plain.encode())
    return b"".join(out)


def compile_format(text: str) -> Render:
    """A function from a record to its bytes. Raises ValueError at an unknown token."""
    pieces: list[Render] = []
    for literal, token in _pieces(unescape(text)):
        if literal:
            pieces.append(_constant(literal))
        if token is not None:
            if token not in TOKENS:
                known = " ".join(f"%{name.decode()}" for name in TOKENS)
                raise ValueError(f"%{token.decode('utf-8', 'replace')} is no token: there are {known} %%")
            pieces.append(TOKENS[token])

    def render(record: Readable) -> bytes:
        return b"".join([piece(record) for piece in pieces])

    return render


def render_value(record: Readable) -> bytes:
    """The value and a newline: what `consume` prints unless told otherwise."""
    value = record.value
    return b"\n" if value is None else value + b"\n"


def render_json(record: Readable) -> bytes:
    """One JSON object on a line; `produce -F json` reads it back. Bytes that are no UTF-8 travel as base64."""
    fields: dict[str, object] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        **json_bytes("key", record.key),
        **json_bytes("value", record.value),
        "headers": [{"key": name, **json_bytes("value", value)} for name, value in record.headers],
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def json_bytes(name: str, data: bytes | None) -> dict[str, str | None]:
    """A JSON field for bytes: text where they are UTF-8, else `name_base64`."""
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def parse_line(line: bytes) -> Draft:
    """The whole line is the value."""
    return Draft(value=line)


def parse_json(line: bytes) -> Draft:
    """The inverse of `render_json`, but for the place: topic, partition and offset are the new record's own.

    Everything may be absent. Raises ValueError.
    """
    record = _json_object(line)
    headers = record.get("headers") or []
    if not isinstance(headers, list) or not all(isinstance(header, dict) for header in headers):
        raise ValueError('"headers" is not a list of {"key": …, "value": …}')
    return Draft(
        value=_bytes_of(record, "value"),
        key=_bytes_of(record, "key"),
        headers=tuple((str(header.get("key", "")), _bytes_of(header, "value")) for header in headers),
        timestamp_ms=_int_of(record, "timestamp"),
    )


def key_from(field_name: str) -> Parse:
    """A parser of JSON lines: the value is the line as it stands, the key is one of its fields as text."""

    def parse(line: bytes) -> Draft:
        record = _json_object(line)
        if field_name not in record:
            raise ValueError(f"it has no field {field_name!r}")
        found = record[field_name]
        if found is None:
            return Draft(value=line)
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        return Draft(value=line, key=text.encode())

    return parse


@dataclass(slots=True)
class InputFormat:
    """How the input falls into records: what ends one, and what stands inside it."""

    end: bytes = b"\n"
    parse: Parse = field(default=parse_line)
    skips_blank: bool = False
    """A blank line is no record (JSON), rather than an empty one (text)."""


def compile_input(text: str) -> InputFormat:
    """The input format of `-F`: `json`, or %k %v %T with literals between them, such as `%k\\t%v\\n`.

    The literal behind the last token ends a record (a newline, if there is none). Raises ValueError.
    """
    if text == "json":
        return InputFormat(parse=parse_json, skips_blank=True)
    pieces = _pieces(unescape(text))
    names = [token for _, token in pieces if token is not None]
    literals = [literal for literal, _ in pieces]
    if not names or not set(names) <= {b"k", b"v", b"s", b"T"} or len(set(names)) < len(names):
        raise ValueError(f"{text!r} is no input format: json, or %k %v %T once each, as in '%k\\t%v\\n'")
    prefix, between = literals[0], literals[1 : len(names)]
    end = literals[len(names)] if len(literals) > len(names) else b"\n"
    if not all(between):
        raise ValueError(f"{text!r}: something must stand between two tokens to tell them apart")
    return InputFormat(end=end, parse=_splitter(prefix, names, between))


def _splitter(prefix: bytes, names: Sequence[bytes], between: Sequence[bytes]) -> Parse:
    """A parser that cuts a record at the literals, left to right; the last field takes the rest."""

    def parse(line: bytes) -> Draft:
        if not line.startswith(prefix):
            raise ValueError(f"it does not begin with {prefix!r}")
        found: dict[bytes, bytes] = {}
        rest = line[len(prefix) :]
        for name, literal in zip(names, between, strict=False):
            found[name], separator, rest = rest.partition(literal)
            if not separator:
                raise ValueError(f"there is no {literal!r} behind %{name.decode()}")
        found[names[-1]] = rest
        return Draft(
            value=found.get(b"v", found.get(b"s")),
            key=found.get(b"k"),
            timestamp_ms=int(found[b"T"]) if b"T" in found else None,
        )

    return parse


def _pieces(format_bytes: bytes) -> list[tuple[bytes, bytes | None]]:
    """A format as (literal, token behind it) pairs; `%%` is part of the literal, the last token may be None."""
    pieces: list[tuple[bytes, bytes | None]] = []
    literal, position = b"", 0
    for match in TOKEN.finditer(format_bytes):
        literal += format_bytes[position : match.start()]
        position = match.end()
        if match[1] == b"%":
            literal += b"%"
        else:
            pieces.append((literal, match[1]))
            literal = b""
    literal += format_bytes[position:]
    if literal:
        pieces.append((literal, None))
    return pieces


def _constant(literal: bytes) -> Render:
    return lambda record: literal


def _headers_line(headers: Headers) -> bytes:
    return b",".join([name.encode() + b"=" + (b"NULL" if value is None else value) for name, value in headers])


def _json_object(line: bytes) -> dict[str, object]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the input's fault, not the caller's
    return record


def _bytes_of(record: dict[str, object], name: str) -> bytes | None:
    """A field as bytes: text as UTF-8, `name_base64` decoded, anything else as JSON text."""
    encoded = record.get(f"{name}_base64")
    if encoded is not None:
        return base64.b64decode(str(encoded), validate=True)
    found = record.get(name)
    if found is None:
        return None
    return (found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)).encode()


def _int_of(record: dict[str, object], name: str) -> int | None:
    found = record.get(name)
    if found is None or (isinstance(found, int) and not isinstance(found, bool)):
        return found
    raise ValueError(f"{name!r} is not a whole number")
