"""The independent judges of our Kafka codecs: kio, kafka-python, and Kafka's own schema files.

kio renames what it gives another type: `timeout_ms` is its `timeout`, a timedelta. Kafka's name is ours; the way to
kio's is here. kio begins at the versions that Kafka 4 still serves; below them kafka-python judges.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib
import importlib.resources
import importlib.util
import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from importlib.abc import Traversable
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints
from uuid import UUID

from hypothesis import given
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType

from support.messages import examples, instances
from tidelog.protocol.apis import DEFINED, Api, ApiKey, api_of
from tidelog.protocol.codegen import decoder, encoder
from tidelog.protocol.fields import Kind, VersionRange, WireField, fields_of
from tidelog.protocol.primitives import ZERO_UUID, Buffer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.protocol.admin

KIO_KINDS: Mapping[str, Kind] = {
    "bool": Kind.BOOLEAN,
    "int8": Kind.INT8,
    "int16": Kind.INT16,
    "uint16": Kind.UINT16,
    "int32": Kind.INT32,
    "timedelta_i32": Kind.INT32,
    "int64": Kind.INT64,
    "timedelta_i64": Kind.INT64,
    "datetime_i64": Kind.INT64,
    "float64": Kind.FLOAT64,
    "error_code": Kind.ERROR,
    "uuid": Kind.UUID,
    "string": Kind.STRING,
    "bytes": Kind.BYTES,
    "records": Kind.RECORDS,
    "struct": Kind.STRUCT,
}
UNIX_EPOCH = dt.datetime.fromtimestamp(0, tz=dt.UTC)


def every_version(key: ApiKey) -> list[tuple[type, int]]:
    """Request and response of an API at every version that is served, or will be."""
    api = DEFINED[key]
    versions = range(api.versions.min, api.versions.max + 1)
    return [(message, version) for message in (api.request, api.response) for version in versions]


def encoded(message: object, version: int) -> bytes:
    """A message as we write it, without a header."""
    parts: list[Buffer] = []
    encoder(type(message), version, api_of(type(message)).is_flexible(version))(message, parts, [])
    return b"".join(parts)


def decoded(message: type, version: int, data: bytes) -> object:
    """A message as we read it; every byte must have been read."""
    instance, position = decoder(message, version, api_of(message).is_flexible(version))(memoryview(data), 0)
    assert position == len(data)
    return instance


def assert_identical_with_the_oracle(message: type, version: int) -> None:
    """What we write is what the oracle writes, and each reads the other's bytes."""
    oracle = _Kio(message, version) if _kio_has(message, version) else _KafkaPython(message, version)

    @examples(12)
    @given(instance=instances(message, version))
    def check(instance: object) -> None:
        theirs = oracle.encode(instance)
        assert encoded(instance, version) == theirs
        assert decoded(message, version, theirs) == instance
        oracle.assert_reads(theirs, instance)

    check()


def assert_same_as_kafkas_schema(message: type) -> None:
    """Fields, their order, types, defaults, tags and versions are those of Kafka's JSON, and of kio's classes.

    kafka-python lacks the JSON of newer APIs; those are judged by kio alone.
    """
    api = api_of(message)
    _assert_same_as_kios_classes(message, api)
    if not _schema_file(message).is_file():
        return
    schema = _schema(message)
    assert schema["apiKey"] == api.key
    assert VersionRange.parse(str(schema["validVersions"])).max >= api.versions.max
    flexible = str(schema["flexibleVersions"])
    assert (None if flexible == "none" else VersionRange.parse(flexible).min) == api.flexible_from
    _assert_fields(message, _with_common_structs(schema), api)


def _schema_file(message: type) -> Traversable:
    return importlib.resources.files("kafka.protocol.schemas.resources").joinpath(f"{message.__name__}.json")


def _schema(message: type) -> dict[str, object]:
    """Kafka's JSON of a message, which kafka-python carries, without its comments."""
    schema = json.loads(re.sub(r"(?m)^\s*//.*$", "", _schema_file(message).read_text()))
    assert isinstance(schema, dict)
    return schema


def _with_common_structs(schema: dict[str, object]) -> list[dict[str, object]]:
    """The fields of a schema; where a struct is defined apart from its uses, its fields stand at each of them."""
    common = {entry["name"]: entry["fields"] for entry in _entries(schema.get("commonStructs"))}

    def whole(entries: list[dict[str, object]]) -> list[dict[str, object]]:
        return [entry | {"fields": whole(_entries(nested(entry)))} for entry in entries]

    def nested(entry: dict[str, object]) -> object:
        return entry.get("fields") or common.get(str(entry["type"]).removeprefix("[]"))

    return whole(_entries(schema["fields"]))


def _entries(value: object) -> list[dict[str, object]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _assert_fields(message: type, schema: Iterable[dict[str, object]], api: Api) -> None:
    served = range(api.versions.min, api.versions.max + 1)
    expected = [entry for entry in schema if _versions(entry, "versions", served)]
    ours = fields_of(message)
    assert [field.name for field in ours] == [_snake(str(entry["name"])) for entry in expected]
    for field, entry in zip(ours, expected, strict=True):
        wire = field.wire
        where = f"{message.__name__}.{field.name}"
        present = _versions(entry, "versions", served)
        assert {v for v in served if v in wire.versions} == present, where
        assert {v for v in present if wire.is_nullable(v)} == _versions(entry, "nullableVersions", served) & present, (
            where
        )
        assert wire.tag == entry.get("tag"), where
        assert _versions(entry, "taggedVersions", served) == (present if wire.tag is not None else set()), where
        kind = str(entry["type"])
        assert wire.is_array == kind.startswith("[]"), where
        _assert_kind(wire, kind.removeprefix("[]"), entry, where)
        if wire.struct is not None:
            _assert_fields(wire.struct, _entries(entry["fields"]), api)
        assert field.default == _default(wire, entry), where


def _assert_kind(wire: WireField, kind: str, entry: dict[str, object], where: str) -> None:
    if wire.struct is not None:
        # Where request and response give one name to two structs, the response's begins with "Response" here.
        assert wire.struct.__name__ in (kind, f"Response{kind}"), where
        return
    kinds = {
        "bool": Kind.BOOLEAN,
        "int8": Kind.INT8,
        "int16": Kind.INT16,
        "uint16": Kind.UINT16,
        "int32": Kind.INT32,
        "int64": Kind.INT64,
        "float64": Kind.FLOAT64,
        "uuid": Kind.UUID,
        "string": Kind.STRING,
        "bytes": Kind.BYTES,
        "records": Kind.RECORDS,
    }
    expected = Kind.ERROR if str(entry["name"]).endswith("ErrorCode") else kinds[kind]
    assert wire.kind is expected, where


def _default(wire: WireField, entry: dict[str, object]) -> object:
    text = entry.get("default")
    if text == "null" or wire.kind is Kind.RECORDS:
        return None
    if wire.is_array:
        return ()
    if wire.struct is not None:
        return wire.struct()
    if wire.kind is Kind.STRING:
        return text or ""
    if wire.kind is Kind.BYTES:
        return b""
    if wire.kind is Kind.UUID:
        return ZERO_UUID
    if wire.kind is Kind.BOOLEAN:
        return str(text).lower() == "true"
    return int(str(text), 0) if text else 0


def _versions(entry: dict[str, object], key: str, served: range) -> set[int]:
    text = entry.get(key)
    return {version for version in served if version in VersionRange.parse(text)} if isinstance(text, str) else set()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _kio_module(message: type, version: int) -> str:
    api = api_of(message)
    side = "request" if message is api.request else "response"
    return f"kio.schema.{_snake(api.name)}.v{version}.{side}"


def _kio_has(message: type, version: int) -> bool:
    return importlib.util.find_spec(_kio_module(message, version).rpartition(".")[0]) is not None


def _assert_same_as_kios_classes(message: type, api: Api) -> None:
    versions = [v for v in range(api.versions.min, api.versions.max + 1) if _kio_has(message, v)]
    assert versions
    for version in versions:
        theirs = getattr(importlib.import_module(_kio_module(message, version)), message.__name__)
        assert (theirs.__api_key__, theirs.__flexible__) == (api.key, api.is_flexible(version))
        _assert_same_as_kios_class(message, theirs, version)


def _assert_same_as_kios_class(message: type, theirs: type, version: int) -> None:
    ours = [field for field in fields_of(message) if version in field.wire.versions]
    entries = dataclasses.fields(theirs)
    assert [field.name for field in ours] == [_name_from_kio(entry) for entry in entries]
    hints = get_type_hints(theirs)
    for field, entry in zip(ours, entries, strict=True):
        wire = field.wire
        where = f"{message.__name__}.{field.name} v{version}"
        hint = hints[entry.name]
        kinds = [kind for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,)) if kind is not NoneType]
        kind = entry.metadata.get("kafka_type", "struct")
        assert wire.tag == entry.metadata.get("tag"), where
        assert wire.is_array == (get_origin(kinds[0]) is tuple), where
        if kind not in ("uuid", "datetime_i64"):  # there None stands for a number
            assert wire.is_nullable(version) == (NoneType in get_args(hint)), where
        # To kio, ShareFetch's second error code is just a number.
        is_error = kind == "int16" and field.name.endswith("error_code")
        assert wire.kind is (Kind.ERROR if is_error else KIO_KINDS[kind]), where
        if entry.default is not dataclasses.MISSING and wire.struct is None:
            assert field.default == _default_from_kio(entry.default, field.default), where
        if wire.struct is not None:
            _assert_same_as_kios_class(wire.struct, get_args(kinds[0])[0] if wire.is_array else kinds[0], version)


def _name_from_kio(entry: dataclasses.Field[object]) -> str:
    is_time = str(entry.metadata.get("kafka_type")).startswith(("timedelta", "datetime"))
    return f"{entry.name}_ms" if is_time else entry.name


def _default_from_kio(default: object, ours: object) -> object:
    if isinstance(default, dt.timedelta):
        return default // dt.timedelta(milliseconds=1)
    return {UUID: ZERO_UUID, int: -1}.get(type(ours)) if default is None else default


class _Kio:
    """kio's codec of one message at one version."""

    def __init__(self, message: type, version: int) -> None:
        self.classes = importlib.import_module(_kio_module(message, version))
        theirs = getattr(self.classes, message.__name__)
        assert theirs.__type__ in (EntityType.request, EntityType.response)
        self.read, self.write = entity_reader(theirs), entity_writer(theirs)

    def encode(self, instance: object) -> bytes:
        buffer = io.BytesIO()
        self.write(buffer, self.convert(instance))
        return buffer.getvalue()

    def assert_reads(self, data: bytes, instance: object) -> None:
        assert self.read(data, 0) == (self.convert(instance), len(data))

    def convert(self, instance: object) -> object:
        """Our instance as kio's class of the same name."""
        name = type(instance).__name__
        theirs = getattr(self.classes, name, None) or getattr(self.classes, name.removeprefix("Response"))
        ours = {field.name for field in fields_of(type(instance))}
        values = {}
        for field in dataclasses.fields(theirs):
            name = field.name if field.name in ours else f"{field.name}_ms"
            values[field.name] = self.convert_value(getattr(instance, name), field)
        return theirs(**values)

    def convert_value(self, value: object, field: dataclasses.Field[object]) -> object:
        kind = field.metadata.get("kafka_type")
        if isinstance(value, tuple):
            return tuple(self.convert(element) if dataclasses.is_dataclass(element) else element for element in value)
        if dataclasses.is_dataclass(value):
            return self.convert(value)
        if isinstance(value, UUID):
            return None if value == ZERO_UUID else value
        if kind == "error_code":
            return KioErrorCode(value)
        if kind in ("timedelta_i32", "timedelta_i64"):
            assert isinstance(value, int)
            return dt.timedelta(milliseconds=value)
        if kind == "datetime_i64":
            assert isinstance(value, int)
            return None if value == -1 else UNIX_EPOCH + dt.timedelta(milliseconds=value)
        return value


class _KafkaPython:
    """kafka-python's codec of one message at one version."""

    def __init__(self, message: type, version: int) -> None:
        self.theirs = getattr(kafka.protocol.admin, message.__name__)
        self.version = version

    def encode(self, instance: object) -> bytes:
        return bytes(self.theirs(version=self.version, **self.convert(instance, self.theirs)).encode(self.version))

    def assert_reads(self, data: bytes, instance: object) -> None:
        expected = self.theirs(version=self.version, **self.convert(instance, self.theirs))
        assert self.theirs.decode(data, version=self.version).to_dict() == expected.to_dict()

    def convert(self, instance: object, container: type) -> dict[str, object]:
        """The values of our instance for a container of theirs."""
        values: dict[str, object] = {}
        for field in fields_of(type(instance)):
            if self.version not in field.wire.versions:
                continue
            value = getattr(instance, field.name)
            if field.wire.struct is not None:
                nested = getattr(container, field.wire.struct.__name__)
                value = [nested(version=self.version, **self.convert(element, nested)) for element in value]
            elif isinstance(value, tuple):
                value = list(value)
            values[field.name] = value
        return values
