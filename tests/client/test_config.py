"""Addresses, sizes and settings of the client."""

import random

import pytest

from tidelog.client.config import (
    Address,
    ClientConfig,
    ProducerConfig,
    ReaderConfig,
    parse_acks,
    parse_codec,
    parse_servers,
    parse_size,
    servers_from,
    wall_clock_ms,
)
from tidelog.protocol.compression import Codec

HERE = (Address("127.0.0.1", 9092),)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("tidelog://localhost:9092", (Address("localhost", 9092),)),
        ("localhost", (Address("localhost", 9092),)),
        ("localhost:1", (Address("localhost", 1),)),
        ("tidelog://a:1,b:2/", (Address("a", 1), Address("b", 2))),
        ("a, b:2", (Address("a", 9092), Address("b", 2))),
        ("tidelog://[::1]:9093", (Address("::1", 9093),)),
        ("[fe80::1]", (Address("fe80::1", 9092),)),
    ],
)
def test_a_url_names_addresses(url: str, addresses: tuple[Address, ...]) -> None:
    assert parse_servers(url) == addresses


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("kafka://a:1", "scheme"),
        ("tidelog://", "names no server"),
        ("a:b", "HOST:PORT"),
        ("a:99999", "not a port"),
        ("a:0", "not a port"),
        ("::1", "brackets"),
        ("user@a:1", "HOST:PORT"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_wrong(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_servers(url)


def test_an_address_reads_as_it_was_written() -> None:
    assert str(Address("::1", 9092)) == "[::1]:9092"
    assert str(Address("a", 1)) == "a:1"


def test_without_a_url_the_environment_and_then_this_machine_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDELOG_SERVER", raising=False)
    assert servers_from(None) == HERE
    monkeypatch.setenv("TIDELOG_SERVER", "elsewhere:7")
    assert servers_from(None) == (Address("elsewhere", 7),)
    assert servers_from("127.0.0.1") == HERE


@pytest.mark.parametrize(
    ("text", "size"),
    [(1, 1), ("7", 7), ("32MiB", 32 << 20), ("1 kb", 1000), ("1.5KiB", 1536), ("2GiB", 2 << 30), ("500B", 500)],
)
def test_a_size_may_be_written_with_its_unit(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "1 parsec", "-1", 0, "0", -5, "1,5MB"])
def test_what_is_no_size_is_refused(text: int | str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(("acks", "number"), [("all", -1), (-1, -1), (1, 1), ("1", 1), (0, 0), ("0", 0)])
def test_acks_are_all_one_or_none(acks: int | str, number: int) -> None:
    assert parse_acks(acks) == number


def test_other_acks_are_refused() -> None:
    with pytest.raises(ValueError, match="'all', 1 or 0"):
        parse_acks(2)


def test_codecs_have_names() -> None:
    assert parse_codec(None) == parse_codec("none") == Codec.NONE
    assert parse_codec("zstd") == Codec.ZSTD
    with pytest.raises(ValueError, match="snappy"):
        parse_codec("rar")


def test_backoff_doubles_up_to_its_limit_and_is_spread() -> None:
    config = ClientConfig(servers=HERE, backoff_min=0.1, backoff_max=1.0, random=random.Random(1))
    assert config.backoff(0) == 0.0
    for failures, middle in [(1, 0.1), (2, 0.2), (3, 0.4), (5, 1.0), (1000, 1.0)]:
        delays = {config.backoff(failures) for _ in range(50)}
        assert len(delays) > 1
        assert all(0.8 * middle <= delay <= 1.2 * middle for delay in delays)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"max_buffer": -1}, {"backoff_min": 3.0}, {"metadata_max_age": 0}])
def test_impossible_client_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"positive|backoff"):
        ClientConfig(servers=HERE, **wrong)  # type: ignore[arg-type]


def test_a_producer_is_idempotent_wherever_acks_allow_it() -> None:
    assert ProducerConfig().is_idempotent
    assert ProducerConfig(idempotent=True).is_idempotent
    assert not ProducerConfig(idempotent=False).is_idempotent
    for acks in (0, 1):
        assert not ProducerConfig(acks=acks).is_idempotent
        with pytest.raises(ValueError, match=f"idempotent=True needs acks='all', not {acks}"):
            ProducerConfig(acks=acks, idempotent=True)


@pytest.mark.parametrize("wrong", [{"linger": -1}, {"linger": 120}, {"max_batch": 0}, {"delivery_timeout": 0}])
def test_impossible_producer_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        ProducerConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"prefetch": 0}, {"max_wait": 0}, {"on_out_of_range": "guess"}])
def test_impossible_reader_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|one of"):
        ReaderConfig(**wrong)  # type: ignore[arg-type]


def test_the_default_clock_tells_milliseconds_since_1970() -> None:
    assert 1_700_000_000_000 < wall_clock_ms() < 10_000_000_000_000
