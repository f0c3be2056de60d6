"""The table of clients and features: a decorator that makes one test for each client that has the call.

What stands in docs/compatibility.md is read from the decorated tests themselves, so that no mark is without its test.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import pytest

from .aio import AioClient
from .confluent import ConfluentClient
from .kcat import KcatClient
from .model import Client
from .node import KafkaJsClient, PlatformaticClient
from .pure_python import PythonClient

CLIENTS: tuple[type[Client], ...] = (
    ConfluentClient,
    AioClient,
    PythonClient,
    KcatClient,
    KafkaJsClient,
    PlatformaticClient,
)
"""The columns."""

READS_BACK: Mapping[type[Client], type[Client]] = {
    ConfluentClient: PythonClient,
    AioClient: ConfluentClient,
    PythonClient: AioClient,
    KcatClient: ConfluentClient,
    KafkaJsClient: KcatClient,
    PlatformaticClient: AioClient,
}
"""Who reads what a client has written: always another one."""


class Mark(Enum):
    """What stands in a cell. Only behind `TESTED` is a test, and behind each one there is."""

    TESTED = "✓"
    ABSENT = "no"


@dataclass(frozen=True, slots=True)
class Row:
    """One feature: what each client can do of it."""

    section: str
    label: str
    marks: tuple[Mark, ...]
    """In the order of `CLIENTS`."""


@dataclass(frozen=True, slots=True)
class Case:
    """One client, and for a feature of several variants which of them."""

    kind: type[Client]
    variant: str = ""


Test = TypeVar("Test", bound=Callable[..., object])


def mark_of(kind: type[Client], verb: str, label: str) -> Mark:
    """What a client can do of a feature."""
    if getattr(kind, verb) is getattr(Client, verb) or label in kind.cannot:
        return Mark.ABSENT
    return Mark.TESTED


def feature(
    section: str, label: str, *, verb: str | Mapping[str, str], variants: Iterable[str] = ("",)
) -> Callable[[Test], Test]:
    """Run the test, by its argument `case`, for each client that has the verb; each variant is a row of its own.

    `verb`: of all variants, or the variants themselves, each with its own verb.
    """
    verbs = dict.fromkeys(variants, verb) if isinstance(verb, str) else verb

    def decorate(test: Test) -> Test:
        labels = {variant: label.format(variant) for variant in verbs}
        rows = tuple(
            Row(section, text, tuple(mark_of(kind, verbs[variant], text) for kind in CLIENTS))
            for variant, text in labels.items()
        )
        cases = [
            pytest.param(Case(kind, variant), id="-".join(filter(None, (kind.name, variant))))
            for variant, text in labels.items()
            for kind in CLIENTS
            if mark_of(kind, verbs[variant], text) is Mark.TESTED
        ]
        decorated: Test = pytest.mark.parametrize("case", cases)(test)
        decorated.compared_features = rows  # type: ignore[attr-defined]
        return decorated

    return decorate
