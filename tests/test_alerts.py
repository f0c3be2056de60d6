"""What Prometheus makes of the rules, the dashboards, the examples for autoscaling, and a broker that has groups.

Debian's own Prometheus is the judge: it reads the files, scrapes a real broker, and is asked everything that they ask.
A missing one fails, because a check that is skipped is a check that nobody made.
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from support.monitoring import (
    MONITORING,
    ROOT,
    RULES,
    asked_for,
    filled_in,
    of_dashboards,
    of_rules,
    of_scalers,
)
from support.process import BrokerProcess, free_port

TOOLS = ROOT / ".cache/debian/usr/bin"
"""Where `make test` puts them."""
PATIENCE_S = 60.0
PARTITIONS = 4
CONSUMED = 24
LEFT = 16
KAFKA_EXPORTER_SUMS = {"kafka_consumergroup_current_offset_sum", "kafka_consumergroup_lag_sum"}
"""Named by kafka_exporter, not by us: to Prometheus `_sum` belongs to histograms."""

OF_FAILURES = {"tidelog_topic_errors_total"}
"""Has series only where something has gone wrong."""


def tool(name: str) -> str:
    path = shutil.which(name, path=f"{TOOLS}:{os.environ['PATH']}")
    assert path is not None, f"{name} is missing: make witnesses"
    return path


def promtool(*arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([tool("promtool"), *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Prometheus:
    """A Prometheus that scrapes one broker several times a second, with our rules."""

    def __init__(self, directory: Path, target: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "500ms"}
        settings["rule_files"] = [str(path) for path in RULES]
        settings["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self._log = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self.address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._log.close()

    def ask(self, path: str, **parameters: str) -> object:
        """Of its HTTP interface; the data of the answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}", timeout=PATIENCE_S) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> Sequence[dict[str, object]]:
        """The elements of an instant vector, or the one that a scalar is. An error of the query raises HTTPError."""
        data = self.ask("query", query=expression)
        assert isinstance(data, dict)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        result: list[dict[str, object]] = data["result"]
        return result

    def value(self, expression: str) -> float:
        """Of the only element."""
        [element] = self.query(expression)
        value = element["value"]
        assert isinstance(value, list)
        return float(value[1])

    def wait_for(self, expression: str) -> None:
        """Until it is true of anything."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if self.query(expression):
                    return
            except OSError:
                pass  # it is still starting
            time.sleep(0.1)
        raise AssertionError(f"{expression} never was")


def consume(consumer: Consumer, count: int) -> None:
    """Read so many, and commit after each."""
    deadline = time.monotonic() + PATIENCE_S
    while count:
        assert time.monotonic() < deadline
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            consumer.commit(message=message, asynchronous=False)
            count -= 1


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """It has a group that has consumed a part of `orders`, and one of the other protocol, without members."""
    process = BrokerProcess(tmp_path_factory.mktemp("broker") / "data")
    process.start()
    servers = {"bootstrap.servers": process.server}
    admin = AdminClient({**servers})
    for created in admin.create_topics([NewTopic("orders", PARTITIONS)]).values():
        created.result(PATIENCE_S)
    producer = Producer(servers)

    def produce(count: int) -> None:
        for number in range(count):
            producer.produce("orders", b"an order", partition=number % PARTITIONS)
        assert producer.flush(PATIENCE_S) == 0

    produce(CONSUMED)
    starting = {**servers, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    billing = Consumer({**starting, "group.id": "billing"})
    billing.subscribe(["orders"])
    consume(billing, CONSUMED)
    nightly = Consumer({**starting, "group.id": "nightly", "group.protocol": "consumer"})
    nightly.subscribe(["orders"])
    consume(nightly, 1)
    nightly.close()
    produce(LEFT)
    yield process
    billing.close()
    process.stop()


@pytest.fixture(scope="module")
def prometheus(broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped the broker a few times, and evaluated the rules."""
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), broker.http)
    try:
        server.wait_for("count_over_time(tidelog_build_info[1m]) > 8")
        yield server
    finally:
        server.stop()


def scraped(broker: BrokerProcess) -> bytes:
    with urllib.request.urlopen(f"http://{broker.http}/metrics", timeout=PATIENCE_S) as answer:
        body: bytes = answer.read()
        return body


# What needs no broker


def test_the_configuration_and_its_rules_are_sound() -> None:
    done = promtool("check", "config", str(MONITORING / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(RULES)} rule files found" in done.stdout
    done = promtool("check", "rules", *map(str, RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_only_then() -> None:
    tests = sorted((ROOT / "tests/monitoring").glob("*.yml"))
    assert {path.name for path in tests} == {path.name for path in RULES}
    done = promtool("test", "rules", *map(str, tests))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    for path in RULES:
        alerts = {rule["alert"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]}
        tests = yaml.safe_load((ROOT / "tests/monitoring" / path.name).read_text())["tests"]
        fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
        assert fired == alerts


# A real scrape


def test_a_scrape_is_as_prometheus_wants_it(broker: BrokerProcess) -> None:
    done = promtool("check", "metrics", stdin=scraped(broker))
    named = set(re.findall(r"^(\w+) (?=.)", done.stdout + done.stderr, flags=re.MULTILINE))
    assert named == KAFKA_EXPORTER_SUMS, done.stdout + done.stderr


def test_lag_is_what_is_left_to_consume(prometheus: Prometheus) -> None:
    billing = '{consumergroup="billing",topic="orders"}'
    assert prometheus.value(f"kafka_consumergroup_lag_sum{billing}") == LEFT
    assert prometheus.value(f"sum(kafka_consumergroup_current_offset{billing})") == CONSUMED
    assert prometheus.value('tidelog_group_members{group="billing"}') == 1
    assert prometheus.value('tidelog_group_members{group="nightly"}') == 0
    assert prometheus.value('tidelog_group_commits_total{group="billing"}') == CONSUMED
    assert prometheus.value('sum(tidelog_group_rebalances_total{group="billing"})') >= 1
    assert prometheus.value('tidelog_group_state{group="billing",state="Stable"}') == 1
    assert prometheus.value("tidelog_group_rebalance_duration_seconds_count") >= 2
    assert 0 < prometheus.value('tidelog_group_lag_seconds{group="billing"}') < PATIENCE_S
    assert 0 <= prometheus.value('time() - tidelog_group_last_commit_timestamp_seconds{group="billing"}') < PATIENCE_S


@pytest.mark.parametrize("expression", [*of_rules(), *of_dashboards(), *of_scalers()])
def test_everything_that_is_asked_for_is_there(prometheus: Prometheus, expression: str) -> None:
    """Prometheus understands the question, and has every metric in it."""
    asked = filled_in(expression)
    prometheus.query(asked)
    for name in asked_for(asked) - OF_FAILURES:
        assert prometheus.query(f'{{__name__="{name}"}}'), f"{name} is in no scrape"


def test_prometheus_evaluates_every_rule(prometheus: Prometheus) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        data = prometheus.ask("rules")
        assert isinstance(data, dict)
        rules = [rule for group in data["groups"] for rule in group["rules"]]
        if all(rule["health"] == "ok" for rule in rules) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert len(rules) == len(of_rules())
    assert [rule for rule in rules if rule["health"] != "ok"] == []


def test_an_autoscaler_is_told_one_number_and_the_right_one(prometheus: Prometheus) -> None:
    by_records = [query for query in of_scalers() if "lag_seconds" not in query]
    assert [prometheus.value(query) for query in by_records] == [LEFT] * 2
    [by_time] = [query for query in of_scalers() if "lag_seconds" in query]
    assert 0 < prometheus.value(by_time) < PATIENCE_S


def test_a_group_that_is_gone_leaves_no_series(broker: BrokerProcess, prometheus: Prometheus) -> None:
    assert b'"nightly"' in scraped(broker)
    admin = AdminClient({"bootstrap.servers": broker.server})
    for deleted in admin.delete_consumer_groups(["nightly"]).values():
        deleted.result(PATIENCE_S)
    assert b'"nightly"' not in scraped(broker)
    prometheus.wait_for('absent({group="nightly"}) and on () absent({consumergroup="nightly"})')
