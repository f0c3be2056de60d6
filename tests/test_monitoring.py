"""What Prometheus and Grafana are given: every metric that a dashboard asks for is one that the broker shows."""

import json
import re

import pytest
import yaml

from support.monitoring import (
    KUBERNETES,
    MONITORING,
    RULES,
    asked_for,
    dashboards,
    found,
    manifests,
    of_dashboards,
    of_rules,
    of_scalers,
)
from support.scrape import busy_scrape


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (topic) (rate(a_total{x="b c"}[5m])) / b', {"a_total", "b"}),
        ("histogram_quantile(0.99, sum by (le, api) (rate(a_bucket[$__rate_interval])))", {"a_bucket"}),
        ("time() - max(a) or vector(0)", {"a"}),
        ('min(up{job="tidelog"})', set()),
        ("(a - on (x, y) group_left () b) < 0.2 and on (x) changes(c[1d]) > 0", {"a", "b", "c"}),
    ],
)
def test_the_names_of_metrics_are_found_in_an_expression(expression: str, names: set[str]) -> None:
    assert asked_for(expression) == names


async def test_every_metric_of_a_dashboard_a_rule_or_a_scaler_is_in_a_scrape() -> None:
    shown = {sample.name for family in busy_scrape().values() for sample in family.samples}
    assert len(of_dashboards()) > 30
    assert len(of_rules()) == 11
    assert len(of_scalers()) == 3
    for expression in (*of_dashboards(), *of_rules(), *of_scalers()):
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


def test_every_alert_says_what_happened_and_how_bad_it_is() -> None:
    """In words that stay below what a pager shows."""
    for path in RULES:
        for rule in found(yaml.safe_load(path.read_text()), "rules"):
            assert isinstance(rule, list)
            for alert in rule:
                assert alert["labels"]["severity"] in ("warning", "critical")
                assert alert["annotations"].keys() == {"summary", "description"}
                assert len(alert["annotations"]["summary"]) < 100


def test_the_examples_for_kubernetes_scale_the_same_group_to_the_same_size() -> None:
    scaled = [one for one in manifests() if one["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")]
    assert len(scaled) == len(KUBERNETES) == 3
    for one in scaled:
        assert found(one, "scaleTargetRef")[0]["name"] == "billing"  # type: ignore[index]
        assert [*found(one, "maxReplicaCount"), *found(one, "maxReplicas")] == [12]
    [kafka] = [
        trigger
        for one in scaled
        for triggers in found(one, "triggers")
        for trigger in triggers  # type: ignore[attr-defined]
        if trigger["type"] == "kafka"
    ]
    assert kafka["metadata"]["consumerGroup"] == "billing"
    # KEDA reads every value of a trigger's metadata as text.
    metadata = [value for one in scaled for part in found(one, "triggers") for value in found(part, "metadata")]
    assert all(isinstance(value, str) for part in metadata for value in part.values())  # type: ignore[attr-defined]
