"""What Prometheus, Grafana and Kubernetes are given to ask: rules, dashboards, examples; and the metrics in them."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana/dashboards").glob("*.json"))
RULES = sorted((MONITORING / "rules").glob("*.yml"))
KUBERNETES = sorted((ROOT / "examples/kubernetes").glob("*.yaml"))
BILLING = 'group="billing",topic="orders"'
"""What the HorizontalPodAutoscaler's selector becomes."""
NOT_OURS = {"up"}
"""Metrics that Prometheus itself makes of a scrape."""


def asked_for(expression: str) -> set[str]:
    """The names of metrics in a PromQL expression: what is left without labels, strings, durations and functions."""
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    rest = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", rest)
    rest = re.sub(r"\b(and|or|unless|offset|bool)\b", " ", rest)
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", rest)) - NOT_OURS


def found(node: object, key: str) -> list[object]:
    """Every value of a key, however deep."""
    if isinstance(node, dict):
        own = [node[key]] if key in node else []
        return own + [value for child in node.values() for value in found(child, key)]
    if isinstance(node, list):
        return [value for child in node for value in found(child, key)]
    return []


def dashboards() -> list[dict[str, object]]:
    """As Grafana reads them."""
    return [json.loads(path.read_text()) for path in DASHBOARDS]


def of_dashboards() -> list[str]:
    """Every expression of a panel."""
    return [str(expression) for dashboard in dashboards() for expression in found(dashboard, "expr")]


def of_rules() -> list[str]:
    """Every expression of an alert."""
    return [str(expression) for path in RULES for expression in found(yaml.safe_load(path.read_text()), "expr")]


def manifests() -> list[dict[str, object]]:
    """The examples for Kubernetes."""
    return [one for path in KUBERNETES for one in yaml.safe_load_all(path.read_text())]


def of_scalers() -> list[str]:
    """Every query by which an autoscaler decides."""
    adapter = [yaml.safe_load(str(rules)) for rules in found(manifests(), "config.yaml")]
    queries = [str(query).replace("<<.LabelMatchers>>", BILLING) for query in found(adapter, "metricsQuery")]
    return [*(str(query) for query in found(manifests(), "query")), *queries]


def filled_in(expression: str) -> str:
    """As Grafana sends it with everything chosen."""
    return re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "1m"))
