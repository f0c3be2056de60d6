"""What Prometheus and Grafana are given: every metric that a dashboard asks for is one that the broker shows."""

import json
import re
from pathlib import Path

import pytest

from support.scrape import busy_scrape

MONITORING = Path(__file__).resolve().parents[1] / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana/dashboards").glob("*.json"))
NOT_OURS = {"up"}
"""Metrics that Prometheus itself makes of a scrape."""


def asked_for(expression: str) -> set[str]:
    """The names of metrics in a PromQL expression: what is left without labels, strings, durations and functions."""
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    rest = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", rest)
    rest = re.sub(r"\b(and|or|unless|offset|bool)\b", " ", rest)
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", rest)) - NOT_OURS


def dashboards() -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in DASHBOARDS]


def found(node: object, key: str) -> list[object]:
    """Every value of a key, however deep."""
    if isinstance(node, dict):
        own = [node[key]] if key in node else []
        return own + [value for child in node.values() for value in found(child, key)]
    if isinstance(node, list):
        return [value for child in node for value in found(child, key)]
    return []


def expressions() -> list[str]:
    return [str(expression) for dashboard in dashboards() for expression in found(dashboard, "expr")]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (topic) (rate(a_total{x="b c"}[5m])) / b', {"a_total", "b"}),
        ("histogram_quantile(0.99, sum by (le, api) (rate(a_bucket[$__rate_interval])))", {"a_bucket"}),
        ("time() - max(a) or vector(0)", {"a"}),
        ('min(up{job="tidelog"})', set()),
    ],
)
def test_the_names_of_metrics_are_found_in_an_expression(expression: str, names: set[str]) -> None:
    assert asked_for(expression) == names


async def test_every_metric_of_a_dashboard_is_in_a_scrape() -> None:
    shown = {sample.name for family in busy_scrape().values() for sample in family.samples}
    assert len(expressions()) > 10
    for expression in expressions():
        assert asked_for(expression) <= shown, expression


async def test_every_variable_of_a_dashboard_is_a_label_of_a_metric_in_a_scrape() -> None:
    labels = {
        sample.name: {"instance", "job", *sample.labels}
        for family in busy_scrape().values()
        for sample in family.samples
    }
    queries = [str(query) for dashboard in dashboards() for query in found(dashboard, "definition")]
    assert queries
    for query in queries:
        match = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", query)
        assert match is not None
        assert match[2] in labels[match[1]], query


def test_every_label_in_a_dashboard_is_matched_by_a_variable_that_exists() -> None:
    for dashboard in dashboards():
        listed = found(dashboard, "templating")
        names = {str(name) for name in found(listed, "name")}
        used = set(re.findall(r"\$(\w+)", json.dumps(found(dashboard, "expr"))))
        assert {name for name in used if not name.startswith("__")} <= names


def test_panels_are_numbered_apart_lie_apart_and_explain_themselves() -> None:
    for dashboard in dashboards():
        panels = [panel for panel in found(dashboard, "panels") if panel]
        everything = [panel for group in panels if isinstance(group, list) for panel in group]
        assert len({panel["id"] for panel in everything}) == len(everything)
        cells: set[tuple[int, int]] = set()
        for panel in everything:
            place = panel["gridPos"]
            mine = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not mine & cells, panel["title"]
            assert place["x"] + place["w"] <= 24
            cells |= mine
            assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]


def test_dashboards_name_the_datasource_that_is_provisioned() -> None:
    provisioned = (MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text()
    for dashboard in dashboards():
        for datasource in found(dashboard, "datasource"):
            assert isinstance(datasource, dict)
            assert f"uid: {datasource['uid']}\n" in provisioned
