"""Family: one Prometheus metric as it is declared, and the first lines of its rendering."""

from dataclasses import dataclass
from typing import Generic, TypeVar

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"

ReadT_co = TypeVar("ReadT_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family(Generic[ReadT_co]):
    """One metric: what it is called, what it means, where it is read."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()
    read: ReadT_co


def header(name: str, kind: str, text: str, *, strip_total: bool) -> str:
    """OpenMetrics names a counter's family without the `_total` of its samples; the older format with it."""
    if strip_total:
        name = name.removesuffix("_total")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
