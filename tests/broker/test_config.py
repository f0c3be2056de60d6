"""The broker's configuration: precedence, names, refusals, and that every setting is read by something."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.broker.config import (
    BROKER_SETTINGS,
    DYNAMIC,
    KEYS,
    BrokerConfig,
    ConfigSource,
    HttpAddress,
    ListenerAddress,
    Origin,
    parse_listeners,
    split_address,
)
from tidelog.broker.kafka_settings import BROKER_NOT_BUILT
from tidelog.storage.config import TOPIC_SETTINGS, ConfigError, LogConfig, Setting

ROOT = Path(__file__).resolve().parents[2]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - only parsed


def refusal(**sources: object) -> str:
    with pytest.raises(ConfigError) as refused:
        BrokerConfig.load(**sources)  # type: ignore[arg-type]
    return str(refused.value)


# -- defaults --


def test_nothing_has_to_be_set() -> None:
    config = BrokerConfig.load()
    assert config == BrokerConfig()
    assert config.listeners == (ListenerAddress(host="127.0.0.1", port=9092),)
    assert config.http == HttpAddress("127.0.0.1", 9192)
    assert config.data_dir == "tidelog-data"
    assert config.num_partitions == 1
    assert config.auto_create_topics_enable is True
    assert config.socket_request_max_bytes == 104857600
    assert config.connections_max_idle_ms == 600000
    assert config.fetch_max_bytes == 57671680
    assert config.log == LogConfig()


@pytest.mark.parametrize("one", BROKER_SETTINGS.values(), ids=lambda one: one.name)
def test_every_default_is_a_value_its_setting_accepts(one: Setting) -> None:
    assert one.parse(one.kind.show(one.default)) == one.default
    assert one.text.endswith(".")


def test_every_listener_listens_to_this_host_only_unless_told_otherwise() -> None:
    config = BrokerConfig()
    assert config.http is not None
    assert {config.http.host, *(listener.host for listener in config.listeners)} == {"127.0.0.1"}


# -- where values come from --


def test_later_sources_win_over_earlier_ones() -> None:
    files = [
        ("a.toml", "num.partitions = 2\nnode.id = 2\nfetch.max.bytes = 2000\nlog.roll.ms = 2"),
        ("b.toml", "node.id = 3"),
    ]
    environ = {"TIDELOG_CONFIG_FETCH_MAX_BYTES": "4000", "TIDELOG_CONFIG_LOG_ROLL_MS": "4"}
    config = BrokerConfig.load(files=files, environ=environ, overrides=["log.roll.ms=5", "log.roll.ms=6"])
    assert (config.num_partitions, config.node_id, config.fetch_max_bytes, config.log.segment_ms) == (2, 3, 4000, 6)


def test_each_value_remembers_where_it_came_from() -> None:
    config = BrokerConfig.load(
        files=[("a.toml", "num.partitions = 2\n[log]\nsegment.bytes = 4096")],
        environ={"TIDELOG_CONFIG_NODE_ID": "9"},
        overrides=["write.caching=true"],
    )
    assert config.origin("num.partitions").place == "a.toml"
    assert config.origin("log.segment.bytes").place == "a.toml"
    assert config.origin("node.id").place == "TIDELOG_CONFIG_NODE_ID"
    assert config.origin("write.caching").place == "--set"
    assert config.origin("write.caching").source is ConfigSource.STATIC_BROKER_CONFIG
    assert config.origin("fetch.max.bytes").source is ConfigSource.DEFAULT_CONFIG


def test_the_sources_have_kafkas_numbers() -> None:
    assert [int(source) for source in ConfigSource] == [1, 2, 3, 4, 5, 6, 8]


def test_tables_of_toml_nest_as_the_names_do() -> None:
    nested = "[log]\nsegment.bytes = 2048\n[log.flush]\ninterval.ms = 7\n[auto.create]\ntopics.enable = false"
    flat = '"log.segment.bytes" = 2048\nlog.flush.interval.ms = "7ms"\nauto.create.topics.enable = "false"'
    config = BrokerConfig.load(files=[("nested", nested)])
    assert config.log == LogConfig(segment_bytes=2048, flush_ms=7)
    assert config.auto_create_topics_enable is False
    again = BrokerConfig.load(files=[("flat", flat)])
    assert (again.log, again.auto_create_topics_enable) == (config.log, config.auto_create_topics_enable)


@pytest.mark.parametrize("variable", ["TIDELOG_CONFIG_NUM_PARTITIONS", "tidelog_config_num_partitions"])
def test_the_case_of_a_variable_does_not_matter(variable: str) -> None:
    assert BrokerConfig.load(environ={variable: "5"}).num_partitions == 5


def test_other_variables_are_none_of_its_business() -> None:
    assert BrokerConfig.load(environ={"TIDELOG_SERVER": "x", "HOME": "/", "NUM_PARTITIONS": "9"}) == BrokerConfig()


@pytest.mark.parametrize("key", [*KEYS, *BROKER_NOT_BUILT])
def test_every_setting_can_be_meant_by_a_variable(key: str) -> None:
    variable = "TIDELOG_CONFIG_" + key.replace(".", "_").upper()
    try:
        BrokerConfig.load(environ={variable: "\x00"})
    except ConfigError as refused:
        assert f"configuration {key} ({variable})" in str(refused)  # noqa: PT017 - some values are accepted


def test_systemds_state_directory_is_the_default_place_of_the_data() -> None:
    environ = {"STATE_DIRECTORY": "/var/lib/tidelog:/var/lib/other"}
    assert BrokerConfig.load(environ=environ).data_dir == "/var/lib/tidelog"
    assert BrokerConfig.load(environ=environ, files=[("a", 'data.dir = "x"')]).data_dir == "x"


# -- defaults of topics --


def test_the_defaults_of_topics_are_set_under_kafkas_broker_names() -> None:
    overrides = [
        "log.segment.bytes=1MiB",
        "log.roll.ms=1h",
        "log.index.interval.bytes=100",
        "log.index.size.max.bytes=4096",
        "message.max.bytes=5000",
        "log.message.timestamp.type=LogAppendTime",
        "log.flush.interval.messages=10",
        "log.flush.interval.ms=20",
        "write.caching=true",
        "log.message.timestamp.before.max.ms=30",
        "log.message.timestamp.after.max.ms=40",
        "compression.type=zstd",
        "compression.gzip.level=5",
        "compression.lz4.level=6",
        "compression.zstd.level=7",
    ]
    assert BrokerConfig.load(overrides=overrides).log == LogConfig(
        segment_bytes=1 << 20,
        segment_ms=3_600_000,
        index_interval_bytes=100,
        segment_index_bytes=4096,
        max_message_bytes=5000,
        message_timestamp_type="LogAppendTime",
        flush_messages=10,
        flush_ms=20,
        write_caching=True,
        message_timestamp_before_max_ms=30,
        message_timestamp_after_max_ms=40,
        compression_type="zstd",
        compression_gzip_level=5,
        compression_lz4_level=6,
        compression_zstd_level=7,
    )
    assert len(overrides) == len(TOPIC_SETTINGS)


def test_a_topics_name_is_refused_with_the_brokers() -> None:
    assert refusal(overrides=["segment.bytes=2048"]).endswith("the default of all topics is log.segment.bytes")


# -- refusals --


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (
            {"overrides": ["num.partition=3"]},
            "Unknown broker config name: num.partition (--set); did you mean num.partitions?",
        ),
        (
            {"environ": {"TIDELOG_CONFIG_NUM_PARTITION": "3"}},
            "Unknown broker config name: num.partition (TIDELOG_CONFIG_NUM_PARTITION); did you mean num.partitions?",
        ),
        (
            {"files": [("a.toml", "num.partitions = 0")]},
            "Invalid value 0 for configuration num.partitions (a.toml): Value must be at least 1",
        ),
        ({"overrides": ["log.dirs=a,b"]}, "Invalid value a,b for configuration log.dirs (--set): More than one"),
        ({"files": [("a.toml", "x = [")]}, "a.toml: "),
        (
            {"files": [("a.toml", 'log.dirs = "a"\ndata.dir = "b"')]},
            "log.dirs and data.dir (a.toml) set the same thing",
        ),
        ({"files": [("a.toml", "node.id = true")]}, "Expected a whole number"),
        ({"files": [("a.toml", "[[listeners]]\nhost = 'a'")]}, "Expected a string"),
        ({"overrides": ["num.partitions"]}, "--set num.partitions: expected KEY=VALUE"),
        ({"overrides": ["data.dir="]}, "Expected a directory"),
    ],
)
def test_a_refusal_names_the_setting_and_where_it_stands(sources: dict[str, object], words: str) -> None:
    assert words in refusal(**sources)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log.retention.ms", "7d"),
        ("log.retention.hours", "168"),
        ("log.cleanup.policy", "compact"),
        ("log.roll.jitter.ms", "5"),
        ("default.replication.factor", "3"),
        ("min.insync.replicas", "2"),
        ("num.io.threads", "8"),
        ("offsets.topic.replication.factor", "3"),
        ("transaction.max.timeout.ms", "1"),
        ("ssl.keystore.location", "x"),
        ("advertised.listeners", "PLAINTEXT://x:9092"),
        ("zookeeper.connect", "localhost:2181"),
    ],
)
def test_what_kafka_has_and_the_broker_has_not_is_refused_by_name(name: str, value: str) -> None:
    assert re.search(
        rf"configuration {re.escape(name)} \(--set\): .* is not built yet", refusal(overrides=[f"{name}={value}"])
    )


@pytest.mark.parametrize(
    "text",
    [
        "default.replication.factor = 1",
        'log.cleanup.policy = ["delete"]',
        "log.retention.ms = -1",
        "delete.topic.enable = true",
    ],
)
def test_what_happens_anyway_may_be_asked_for(text: str) -> None:
    config = BrokerConfig.load(files=[("a.toml", text)])
    assert config.origins == {text.split(" ", 1)[0]: Origin(ConfigSource.STATIC_BROKER_CONFIG, "a.toml")}
    assert replace(config, origins={}) == BrokerConfig()


# -- changes at run time --


def test_what_is_set_at_run_time_covers_what_was_set_at_start() -> None:
    config = BrokerConfig.load(overrides=["max.connections=4", "log.segment.bytes=4096", "num.partitions=3"])
    now = config.with_overrides({"max.connections": "5", "log.roll.ms": "1s"}, {"max.connections": "6"})
    assert (now.max_connections, now.num_partitions) == (6, 3)
    assert now.log == LogConfig(segment_bytes=4096, segment_ms=1000)
    assert now.origins == config.origins, "where the values at start are from"
    assert config.with_overrides({}, {}) == config


def test_a_bad_value_is_refused_at_run_time_as_at_start() -> None:
    with pytest.raises(
        ConfigError, match=r"Invalid value 0 for configuration max\.connections: Value must be at least"
    ):
        BrokerConfig().with_overrides({"max.connections": "0"})


def test_nobody_is_locked_out_from_everywhere() -> None:
    """Kafka's rule for two settings together."""
    words = r"^max\.connections\.per\.ip can be set to zero only if max\.connections\.per\.ip\.overrides"
    with pytest.raises(ConfigError, match=words):
        BrokerConfig.load(overrides=["max.connections.per.ip=0"])
    with pytest.raises(ConfigError, match=words):
        BrokerConfig().with_overrides({"max.connections.per.ip": "0"})
    good = {"max.connections.per.ip": "0", "max.connections.per.ip.overrides": "10.0.0.1:5"}
    assert BrokerConfig().with_overrides(good).max_connections_per_ip == 0


def test_every_default_of_topics_can_be_changed_at_run_time() -> None:
    assert DYNAMIC.keys() >= {one.broker_name for one in TOPIC_SETTINGS.values()}
    assert all(KEYS[name] is one for name, one in DYNAMIC.items())


# -- addresses --


@pytest.mark.parametrize(
    ("written", "listeners"),
    [
        ("localhost:1", [ListenerAddress(host="localhost", port=1)]),
        ("localhost", [ListenerAddress(host="localhost", port=9092)]),
        ("0.0.0.0:0", [ListenerAddress(host=EVERYWHERE, port=0)]),
        ("[::1]:1", [ListenerAddress(host="::1", port=1)]),
        ("[::]", [ListenerAddress(host="::", port=9092)]),
        ("a:1@b:2", [ListenerAddress(host="a", port=1, advertised_host="b", advertised_port=2)]),
        ("a:1@b", [ListenerAddress(host="a", port=1, advertised_host="b", advertised_port=1)]),
        ("a:1@[::2]:3", [ListenerAddress(host="a", port=1, advertised_host="::2", advertised_port=3)]),
        ("PLAINTEXT://:9092", [ListenerAddress(host=EVERYWHERE, port=9092)]),
        ("plaintext://a:1, b:2", [ListenerAddress(host="a", port=1), ListenerAddress(host="b", port=2)]),
        (["a:0", "a:0"], [ListenerAddress(host="a", port=0), ListenerAddress(host="a", port=0)]),
    ],
)
def test_a_listener_is_where_to_listen_and_perhaps_what_to_advertise(
    written: object, listeners: list[ListenerAddress]
) -> None:
    assert parse_listeners(written) == tuple(listeners)


@pytest.mark.parametrize(
    "written",
    [
        "",
        ":1",
        "a:",
        "a:x",
        "a:65536",
        "a:-1",
        "::1:9092",
        "a:1@",
        "a:0@b",
        "a:1@b:0",
        "SSL://a:1",
        "a:1,a:1",
        "a b:1",
        "a/b:1",
        [1],
        5,
    ],
)
def test_what_is_no_listener_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_listeners(written)


@given(st.text())
def test_no_text_does_worse_than_to_be_refused(written: str) -> None:
    try:
        for listener in parse_listeners(written):
            assert 0 <= listener.port <= 65535
            assert listener.host
    except ValueError:
        pass


@pytest.mark.parametrize("listener", ["127.0.0.1:9092", "[::1]:9092", "a:1@b:2", "[::]:1@[::2]:3"])
def test_a_listener_is_shown_as_it_is_written(listener: str) -> None:
    assert ",".join(map(str, parse_listeners(listener))) == listener


def test_a_host_without_a_port_needs_a_default() -> None:
    assert split_address("host", 7) == ("host", 7)
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address("host", None)


@pytest.mark.parametrize("written", ["off", "OFF", ""])
def test_the_http_side_can_be_turned_off(written: str) -> None:
    assert BrokerConfig.load(overrides=[f"http.listen={written}"]).http is None


# -- nothing is accepted and ignored --


def words_of_the_house(*folders: str) -> set[str]:
    texts = [
        path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py") if path.name != "config.py"
    ]
    return set(re.findall(r"\.(\w+)", "\n".join(texts)))


@pytest.mark.parametrize("attribute", [*BROKER_SETTINGS])
def test_every_setting_of_the_broker_is_read_by_something(attribute: str) -> None:
    assert attribute in words_of_the_house("broker", "cli")


@pytest.mark.parametrize("attribute", [*TOPIC_SETTINGS])
def test_every_setting_of_a_topic_is_read_by_something(attribute: str) -> None:
    # flush_ms is read through the property that knows its default under write caching.
    read = "caching_flush_ms" if attribute == "flush_ms" else attribute
    assert read in words_of_the_house("broker", "storage")


# Limits by address


def test_limits_by_address_are_read_in_every_spelling() -> None:
    config = BrokerConfig.load(overrides=["max.connections.per.ip.overrides=10.0.0.1:5, [::1]:7,::ffff:1.2.3.4:0"])
    one, two, three = config.max_connections_per_ip_overrides
    assert (one.address, one.count) == ("10.0.0.1", 5)
    assert (two.address, two.count) == ("::1", 7)
    assert (three.address, three.count) == ("1.2.3.4", 0), "an IPv4 address through IPv6 is the same"
    assert ",".join(map(str, (one, two))) == "10.0.0.1:5,[::1]:7"


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1:", "10.0.0.1:many", "10.0.0.1:-1", "host.example:5", ":5"])
def test_a_limit_by_address_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"max\.connections\.per\.ip\.overrides"):
        BrokerConfig.load(overrides=[f"max.connections.per.ip.overrides={text}"])


@pytest.mark.parametrize("name", ["queued.max.request.bytes", "queued.max.response.bytes"])
def test_budgets_can_be_sizes_or_off(name: str) -> None:
    attribute = name.replace(".", "_")
    assert getattr(BrokerConfig(), attribute) == 256 << 20
    assert getattr(BrokerConfig.load(overrides=[f"{name}=1GiB"]), attribute) == 1 << 30
    assert getattr(BrokerConfig.load(overrides=[f"{name}=-1"]), attribute) == -1
