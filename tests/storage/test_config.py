"""Settings of topics: how they are declared, read, refused and shown."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.storage.config import (
    INT_MAX,
    LONG_MAX,
    TOPIC_NOT_BUILT,
    TOPIC_SETTINGS,
    ConfigError,
    LogConfig,
    NotBuilt,
    Range,
    Setting,
    ValueType,
    parse_boolean,
    parse_count,
    parse_duration,
    parse_size,
    settings_of,
    spelled,
)


def test_defaults_are_kafkas() -> None:
    config = LogConfig()
    assert config.segment_bytes == 1073741824
    assert config.segment_ms == 604800000
    assert config.segment_index_bytes == 10485760
    assert config.index_interval_bytes == 4096
    assert config.max_message_bytes == 1048588
    assert config.message_timestamp_type == "CreateTime"
    assert config.flush_messages == config.flush_ms == 9223372036854775807
    assert config.write_caching is False


def test_every_field_is_a_setting() -> None:
    assert list(settings_of(LogConfig)) == [one.name for one in fields(LogConfig)]


@pytest.mark.parametrize("one", TOPIC_SETTINGS.values(), ids=lambda one: one.name)
def test_every_default_is_a_value_its_setting_accepts(one: Setting) -> None:
    assert one.parse(one.kind.show(one.default)) == one.default
    assert one.text.endswith(".")


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1048576", 1048576),
        (" 12 ", 12),
        ("0", 0),
        ("-1", -1),
        ("1B", 1),
        ("512kB", 512_000),
        ("1MB", 1_000_000),
        ("1KiB", 1024),
        ("1.5 MiB", 1_572_864),
        ("1GiB", 1 << 30),
        ("1gib", 1 << 30),
        ("2TiB", 2 << 40),
        (4096, 4096),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "duration_ms"),
    [
        ("30000", 30_000),
        ("250ms", 250),
        ("30s", 30_000),
        ("1.5h", 5_400_000),
        ("5m", 300_000),
        ("5 min", 300_000),
        ("7d", 604_800_000),
        ("2W", 1_209_600_000),
        ("-1", -1),
        (1000, 1000),
    ],
)
def test_a_time_is_milliseconds_or_has_a_unit(written: object, duration_ms: int) -> None:
    assert parse_duration(written) == duration_ms


@pytest.mark.parametrize(
    "written", ["", "x", "1x", "1 2", "1.", ".5", "1e3", "1_000", "٣", "1d", "0x10", True, 1.0, None]
)
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="Expected a size"):
        parse_size(written)


@pytest.mark.parametrize("written", ["0.3ms", "0.0001s", "1GiB", "1y"])
def test_what_is_no_whole_number_of_milliseconds_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="Expected a time"):
        parse_duration(written)


def test_a_count_has_no_unit() -> None:
    assert parse_count("12") == 12
    with pytest.raises(ValueError, match="no unit"):
        parse_count("12k")


@pytest.mark.parametrize("written", ["true", "TRUE", " True ", True])
def test_true_is_written_as_in_kafka_or_as_in_toml(written: object) -> None:
    assert parse_boolean(written) is True


@pytest.mark.parametrize("written", ["yes", "1", "", 1, 0, None])
def test_no_other_word_is_a_boolean(written: object) -> None:
    with pytest.raises(ValueError, match="either true or false"):
        parse_boolean(written)


@given(st.text())
def test_no_text_does_worse_than_to_be_refused(written: str) -> None:
    for parse in (parse_size, parse_duration, parse_count, parse_boolean):
        try:
            parse(written)
        except ValueError:
            pass


@given(
    st.integers(1024, INT_MAX),
    st.integers(0, LONG_MAX),
    st.booleans(),
    st.sampled_from(["CreateTime", "LogAppendTime"]),
)
def test_what_is_shown_reads_back(segment_bytes: int, flush_ms: int, caching: bool, stamp: str) -> None:
    config = LogConfig(
        segment_bytes=segment_bytes, flush_ms=flush_ms, write_caching=caching, message_timestamp_type=stamp
    )
    assert LogConfig().with_overrides(config.entries()) == config


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    config = LogConfig(segment_ms=5).with_overrides({"segment.bytes": "1MiB", "write.caching": "true"})
    assert config == LogConfig(segment_ms=5, segment_bytes=1 << 20, write_caching=True)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("segment.bytes", "1023", "Invalid value 1023 for configuration segment.bytes: Value must be at least 1024"),
        ("segment.bytes", "2GiB", "Value must be no more than 2147483647"),
        ("segment.ms", "0", "at least 1"),
        ("flush.ms", "9223372036854775808", "no more than 9223372036854775807"),
        ("message.timestamp.type", "createtime", "String must be one of: CreateTime, LogAppendTime"),
        ("segment.bytes", "many", "Expected a size in bytes"),
        ("write.caching", "on", "either true or false"),
    ],
)
def test_a_bad_value_is_refused_in_kafkas_words(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        LogConfig().with_overrides({name: value})
    assert words in str(refused.value)


def test_an_unknown_name_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"^Unknown topic config name: retention\.m; did you mean retention\.ms\?$"):
        LogConfig().with_overrides({"retention.m": "1"})


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(ConfigError, match=r"^Unknown topic config name: qqqqqqqq$"):
        LogConfig().with_overrides({"qqqqqqqq": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention.ms", "7d"),
        ("retention.bytes", "0"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("segment.jitter.ms", "5"),
        ("min.insync.replicas", "2"),
        ("delete.retention.ms", "1"),
        ("remote.storage.enable", "true"),
        ("tidelog.message.ttl.ms", "1000"),
    ],
)
def test_what_is_not_built_is_refused_with_those_words(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"configuration {name}: .* is not built yet"):
        LogConfig().with_overrides({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cleanup.policy", "delete"),
        ("min.insync.replicas", "1"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("preallocate", "False"),
        ("leader.replication.throttled.replicas", ""),
    ],
)
def test_what_happens_anyway_may_be_asked_for(name: str, value: str) -> None:
    assert LogConfig().with_overrides({name: value}) == LogConfig()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("compression.type", ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"], ["none", "brotli", ""]),
        ("compression.gzip.level", ["-1", "1", "9"], ["0", "10", "-2"]),
        ("compression.lz4.level", ["1", "17"], ["0", "18"]),
        ("compression.zstd.level", ["-131072", "22"], ["23"]),
        ("message.timestamp.before.max.ms", ["0", "1d"], ["-1"]),
        ("message.timestamp.after.max.ms", ["0", str(LONG_MAX)], ["-1"]),
    ],
)
def test_limits_are_kafkas(name: str, good: list[str], bad: list[str]) -> None:
    for value in good:
        LogConfig().with_overrides({name: value})
    for value in bad:
        with pytest.raises(ConfigError, match=f"configuration {name}"):
            LogConfig().with_overrides({name: value})


def test_the_refusal_says_which_value_is_accepted() -> None:
    with pytest.raises(ConfigError, match=r"the only value accepted is -1$"):
        LogConfig().with_overrides({"retention.ms": "5"})
    with pytest.raises(ConfigError, match=r"the only value accepted is the empty one$"):
        NotBuilt("replication", "").check("throttled", "x")
    with pytest.raises(ConfigError, match=r"is not built yet$"):
        NotBuilt("a limit").check("limit", "x")


def test_overrides_are_spelled_as_kafka_spells_them() -> None:
    written = {"segment.bytes": " 1MiB", "write.caching": "TRUE", "retention.ms": "-1 ", "flush.ms": "2s"}
    spelling = {"segment.bytes": "1048576", "write.caching": "true", "retention.ms": "-1", "flush.ms": "2000"}
    assert spelled(written) == spelled(spelling) == spelling
    with pytest.raises(ConfigError, match="Unknown topic config name"):
        spelled({"no.such": "1"})


@pytest.mark.parametrize(
    ("name", "value_type"),
    [
        ("segment.bytes", ValueType.INT),
        ("segment.ms", ValueType.LONG),
        ("message.timestamp.type", ValueType.STRING),
        ("write.caching", ValueType.BOOLEAN),
    ],
)
def test_a_number_is_an_int_where_its_limit_fits_one(name: str, value_type: ValueType) -> None:
    """As Kafka declares them."""
    assert next(one for one in TOPIC_SETTINGS.values() if one.name == name).value_type is value_type


def test_of_what_is_not_built_the_accepted_value_has_a_type_too() -> None:
    assert NotBuilt("x", "false").value_type is ValueType.BOOLEAN
    assert NotBuilt("x", "-1").value_type is ValueType.LONG
    assert NotBuilt("x", "-1", ValueType.INT).value_type is ValueType.INT
    assert NotBuilt("x", "producer").value_type is ValueType.STRING
    assert NotBuilt("tiered storage").why.startswith("Tiered storage is not built yet")


def test_entries_list_what_can_be_set_and_what_is_fixed() -> None:
    entries = LogConfig(segment_bytes=2048, write_caching=True).entries()
    assert entries["segment.bytes"] == "2048"
    assert entries["write.caching"] == "true"
    assert entries["cleanup.policy"] == "delete"
    assert entries["retention.ms"] == "-1"
    assert "tidelog.overflow" not in entries
    assert list(entries) == sorted(entries)
    assert set(entries) <= set(TOPIC_NOT_BUILT) | {one.name for one in TOPIC_SETTINGS.values()}


def test_write_caching_flushes_every_second_unless_told_otherwise() -> None:
    assert LogConfig(write_caching=True).caching_flush_ms == 1000
    assert LogConfig(write_caching=True, flush_ms=50).caching_flush_ms == 50


def test_a_range_without_an_end_says_only_where_it_begins() -> None:
    assert str(Range(1, LONG_MAX)) == "at least 1"
    assert str(Range(1, 5)) == "1 to 5"
