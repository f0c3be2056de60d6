"""kcat (librdkafka 2.0 of Debian) as an independent judge of the Kafka wire.

Its feature map wants exact points: kafka.md 1b.4.
"""

import json
import subprocess

import pytest

from support.process import BrokerProcess

PATIENCE_S = 60.0


def kcat(broker: BrokerProcess, *words: str, given: bytes = b"") -> bytes:
    """What kcat prints."""
    done = subprocess.run(
        ["kcat", "-b", broker.server, *words], input=given, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_records_of_every_codec_come_back(broker: BrokerProcess, codec: str) -> None:
    values = [f"value {number} ".encode() * 20 for number in range(300)]
    kcat(broker, "-P", "-t", "orders", "-z", codec, "-X", "acks=all", given=b"\n".join(values))
    assert kcat(broker, "-C", "-t", "orders", "-e", "-q", "-o", "beginning").splitlines() == values


def test_the_batch_keeps_the_codec_it_was_sent_with(broker: BrokerProcess) -> None:
    """B-16: the broker neither decodes nor recompresses; kcat on an old feature map would send it plain (1b.3)."""
    values = [b"the same words again and again " * 30] * 200
    kcat(broker, "-P", "-t", "orders", "-z", "zstd", given=b"\n".join(values))
    size = sum(path.stat().st_size for path in broker.data_dir.glob("orders-0/*.log"))
    assert 0 < size < sum(map(len, values)) / 10


def test_keys_headers_nulls_and_empty_values_survive(broker: BrokerProcess) -> None:
    kcat(broker, "-P", "-t", "orders", "-K", ":", "-H", "trace=7", "-H", "empty=", given=b"k1:v1\nk2:\n")
    kcat(broker, "-P", "-t", "orders", "-K", ":", "-Z", given=b"k3:\n:v4\n")
    rows = [json.loads(row) for row in kcat(broker, "-C", "-t", "orders", "-e", "-q", "-J").splitlines()]
    assert [(row["key"], row["payload"]) for row in rows] == [("k1", "v1"), ("k2", ""), ("k3", None), (None, "v4")]
    assert rows[0]["headers"] == ["trace", "7", "empty", ""]
    assert [row["offset"] for row in rows] == [0, 1, 2, 3]


def test_reading_starts_where_it_is_told_to(broker: BrokerProcess) -> None:
    """L-5, L-6: an offset inside a batch, from the end, and by time."""
    kcat(broker, "-P", "-t", "orders", given=b"\n".join(b"%d" % number for number in range(100)))
    assert kcat(broker, "-C", "-t", "orders", "-e", "-q", "-o", "57").splitlines()[0] == b"57"
    assert kcat(broker, "-C", "-t", "orders", "-e", "-q", "-o", "-3").splitlines() == [b"97", b"98", b"99"]
    assert len(kcat(broker, "-C", "-t", "orders", "-e", "-q", "-o", "s@1").splitlines()) == 100
    assert kcat(broker, "-C", "-t", "orders", "-e", "-q", "-o", "s@32503680000000").splitlines() == []


def test_the_listing_names_us_under_the_address_that_was_dialled(broker: BrokerProcess) -> None:
    kcat(broker, "-P", "-t", "orders", given=b"one\n")
    listing = json.loads(kcat(broker, "-L", "-J"))
    assert [node["name"] for node in listing["brokers"]] == [broker.server]
    topics = {topic["topic"]: topic for topic in listing["topics"]}
    assert [partition["leader"] for partition in topics["orders"]["partitions"]] == [listing["brokers"][0]["id"]]
    by_other_name = broker.server.replace("127.0.0.1", "127.0.0.2")
    assert by_other_name != broker.server


def test_acks_zero_and_one_arrive(broker: BrokerProcess) -> None:
    for acks in ("0", "1"):
        kcat(broker, "-P", "-t", f"acks-{acks}", "-X", f"acks={acks}", given=b"one\ntwo\n")
        assert kcat(broker, "-C", "-t", f"acks-{acks}", "-c", "2", "-q").splitlines() == [b"one", b"two"]
