"""Messages of every class and version, made by hypothesis from the fields' own metadata."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import cache

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tidelog.protocol.apis import KAFKA_APIS, Api
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.fields import Kind, WireField, fields_of
from tidelog.protocol.primitives import (
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    UINT16_MAX,
)
from tidelog.protocol.wire import RequestHeader

PROOF = os.environ.get("TIDELOG_PROOF") == "1"


def examples(count: int) -> settings:
    """So many examples in the fast loop, and thirty times as many at release size."""
    return settings(
        # The same on every run: what CI shows, anybody can repeat.
        derandomize=not PROOF,
        max_examples=count * 30 if PROOF else count,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# Lengths around 127 and 2047 are where a compact length takes one more byte, or leaves the table of small ones.
TEXT = st.one_of(st.text(max_size=12), st.sampled_from(["x" * 126, "x" * 127, "ä" * 64, "x" * 2046, "x" * 2047]))
OCTETS = st.one_of(st.binary(max_size=20), st.sampled_from([b"r" * 127, b"r" * 20_000]))

SCALARS: Mapping[Kind, st.SearchStrategy[object]] = {
    Kind.BOOLEAN: st.booleans(),
    Kind.INT8: st.integers(INT8_MIN, INT8_MAX),
    Kind.INT16: st.integers(INT16_MIN, INT16_MAX),
    Kind.UINT16: st.integers(0, UINT16_MAX),
    Kind.INT32: st.integers(INT32_MIN, INT32_MAX),
    Kind.INT64: st.integers(INT64_MIN, INT64_MAX),
    Kind.FLOAT64: st.floats(allow_nan=False),
    Kind.ERROR: st.sampled_from(ErrorCode),
    Kind.UUID: st.uuids() | st.uuids(allow_nil=True),
    Kind.STRING: TEXT,
    Kind.BYTES: OCTETS,
    Kind.RECORDS: OCTETS,
}

KIO_TIMESTAMP_MAX = 4_000_000_000_000
"""The year 2096: beyond 2**32 seconds kio's way over floating point loses milliseconds."""
NARROWER: Mapping[str, st.SearchStrategy[object]] = {
    "log_append_time_ms": st.one_of(st.just(-1), st.integers(0, KIO_TIMESTAMP_MAX)),
    **dict.fromkeys(
        ("expiry_timestamp_ms", "issue_timestamp_ms", "max_timestamp_ms", "transaction_start_time_ms"),
        st.integers(0, KIO_TIMESTAMP_MAX),
    ),
    **dict.fromkeys(
        ("expiry_time_period_ms", "max_lifetime_ms", "renew_period_ms", "retention_time_ms", "session_lifetime_ms"),
        st.integers(-1, KIO_TIMESTAMP_MAX),
    ),
}
"""Fields to which kio gives a narrower type than Kafka does."""


@cache
def instances(message: type, version: int) -> st.SearchStrategy[object]:
    """Instances in which every field that the version lacks has its default."""
    return st.builds(
        message,
        **{
            field.name: NARROWER[field.name] if field.name in NARROWER else _values(field.wire, version)
            for field in fields_of(message)
            if version in field.wire.versions
        },
    )


@cache
def instances_of_all_versions(message: type, newest: int) -> st.SearchStrategy[object]:
    """Instances in which also the fields that the newest version lacks have any value."""
    return st.builds(
        message,
        **{
            field.name: NARROWER[field.name] if field.name in NARROWER else _values_of_all_versions(field.wire, newest)
            for field in fields_of(message)
        },
    )


def as_of(message: object, version: int) -> object:
    """The message without what a version lacks: such fields have their default, at every depth."""
    kind: type = type(message)
    changes: dict[str, object] = {}
    for field in fields_of(kind):
        value = getattr(message, field.name)
        if version not in field.wire.versions:
            changes[field.name] = field.default
        elif field.wire.struct is not None and value is not None:
            changes[field.name] = (
                tuple(as_of(element, version) for element in value) if field.wire.is_array else as_of(value, version)
            )
    return dataclasses.replace(message, **changes)  # type: ignore[type-var]


def _values_of_all_versions(wire: WireField, newest: int) -> st.SearchStrategy[object]:
    one = SCALARS[wire.kind] if wire.struct is None else instances_of_all_versions(wire.struct, newest)
    value = st.lists(one, max_size=3).map(tuple) if wire.is_array else one
    may_be_null = wire.is_nullable(newest) if newest in wire.versions else wire.nullable is not None
    return st.none() | value if may_be_null else value


def _values(wire: WireField, version: int) -> st.SearchStrategy[object]:
    one = SCALARS[wire.kind] if wire.struct is None else instances(wire.struct, version)
    value = st.lists(one, max_size=3).map(tuple) if wire.is_array else one
    return st.none() | value if wire.is_nullable(version) else value


def served() -> list[tuple[Api, int]]:
    """Every API at every version that is served on the Kafka wire."""
    return [(api, version) for api in KAFKA_APIS.values() for version in range(api.versions.min, api.versions.max + 1)]


def a_header(
    api: Api, version: int | None = None, *, correlation_id: int = 7, client_id: str | None = "tests"
) -> RequestHeader:
    """A header for a call of the API, at its newest version unless told."""
    newest = api.versions.max if version is None else version
    return RequestHeader(api=api, version=newest, correlation_id=correlation_id, client_id=client_id)


def frame_of(chunks: list[bytes | bytearray | memoryview]) -> memoryview:
    """What a receiver sees of an encoded frame: writable, without the length, which must be right."""
    data = bytearray(b"".join(chunks))
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    return memoryview(data)[4:]
