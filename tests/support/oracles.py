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
from collections.abc import Iterable
from uuid import UUID

from hypothesis import given
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType

from support.messages import examples, instances
from tidelog.protocol.apis import APIS, BY_NAME, Api, ApiKey
from tidelog.protocol.codegen import decoder, encoder
from tidelog.protocol.fields import Kind, VersionRange, WireField, fields_of
from tidelog.protocol.primitives import ZERO_UUID, Buffer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.protocol.admin

UNIX_EPOCH = dt.datetime.fromtimestamp(0, tz=dt.UTC)


def every_version(key: ApiKey) -> list[tuple[type, int]]:
    """Request and response of an API at every version that is served."""
    api = APIS[key]
    versions = range(api.versions.min, api.versions.max + 1)
    return [(message, version) for message in (api.request, api.response) for version in versions]


def encoded(message: object, version: int) -> bytes:
    """A message as we write it, without a header."""
    parts: list[Buffer] = []
    encoder(type(message), version, _api_of(type(message)).is_flexible(version))(message, parts, [])
    return b"".join(parts)


def decoded(message: type, version: int, data: bytes) -> object:
    """A message as we read it; every byte must have been read."""
    instance, position = decoder(message, version, _api_of(message).is_flexible(version))(memoryview(data), 0)
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
    """Fields, their order, types, defaults, tags and versions are those of Kafka's JSON."""
    api = _api_of(message)
    schema = _schema(message)
    assert schema["apiKey"] == api.key
    assert VersionRange.parse(str(schema["validVersions"])).max >= api.versions.max
    assert VersionRange.parse(str(schema["flexibleVersions"])).min == api.flexible_from
    fields = schema["fields"]
    assert isinstance(fields, list)
    _assert_fields(message, fields, api)


def _schema(message: type) -> dict[str, object]:
    """Kafka's JSON of a message, which kafka-python carries, without its comments."""
    file = importlib.resources.files("kafka.protocol.schemas.resources").joinpath(f"{message.__name__}.json")
    schema = json.loads(re.sub(r"(?m)^\s*//.*$", "", file.read_text()))
    assert isinstance(schema, dict)
    return schema


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
            nested = entry["fields"]
            assert isinstance(nested, list)
            _assert_fields(wire.struct, nested, api)
        assert field.default == _default(wire, entry), where


def _assert_kind(wire: WireField, kind: str, entry: dict[str, object], where: str) -> None:
    if wire.struct is not None:
        assert wire.struct.__name__ == kind, where
        return
    kinds = {
        "bool": Kind.BOOLEAN,
        "int8": Kind.INT8,
        "int16": Kind.INT16,
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
    if wire.kind is Kind.UUID:
        return ZERO_UUID
    if wire.kind is Kind.BOOLEAN:
        return text == "true"
    return int(str(text), 0) if text else 0


def _versions(entry: dict[str, object], key: str, served: range) -> set[int]:
    text = entry.get(key)
    return {version for version in served if version in VersionRange.parse(text)} if isinstance(text, str) else set()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _api_of(message: type) -> Api:
    return BY_NAME[message.__name__.removesuffix("Request").removesuffix("Response")]


def _kio_module(message: type, version: int) -> str:
    api = _api_of(message)
    side = "request" if message is api.request else "response"
    return f"kio.schema.{_snake(api.name)}.v{version}.{side}"


def _kio_has(message: type, version: int) -> bool:
    return importlib.util.find_spec(_kio_module(message, version).rpartition(".")[0]) is not None


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
        theirs = getattr(self.classes, type(instance).__name__)
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
        if kind == "timedelta_i32":
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
