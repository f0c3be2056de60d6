"""confluent-kafka and kafka-python, unmodified, as judges of the Kafka wire."""

import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaTopicPartition
from kafka.admin import NewTopic as KafkaNewTopic

from support.process import BrokerProcess

PATIENCE_S = 30.0


def confluent_consumer(broker: BrokerProcess) -> Consumer:
    """A consumer whose partitions are assigned by hand."""
    return Consumer({"bootstrap.servers": broker.server, "group.id": "by-hand", "enable.auto.commit": False})


def read(consumer: Consumer, count: int) -> list[tuple[bytes | None, bytes | None]]:
    """So many records."""
    records: list[tuple[bytes | None, bytes | None]] = []
    while len(records) < count:
        message = consumer.poll(PATIENCE_S)
        assert message is not None, f"only {len(records)} of {count} records"
        assert message.error() is None, message.error()
        records.append((message.key(), message.value()))
    return records


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_confluent_produces_and_consumes(broker: BrokerProcess, codec: str, acks: str) -> None:
    producer = Producer({"bootstrap.servers": broker.server, "acks": acks, "compression.type": codec})
    sent = [(b"key %d" % (number % 7), b"value %d" % number * 10) for number in range(500)]
    failures: list[KafkaError] = []
    for key, value in sent:
        producer.produce("orders", value, key, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(PATIENCE_S) == 0
    assert failures == []
    consumer = confluent_consumer(broker)
    consumer.assign([TopicPartition("orders", 0, 0)])
    assert read(consumer, len(sent)) == sent
    consumer.close()


def test_confluent_seeks_by_time_and_knows_the_watermarks(broker: BrokerProcess) -> None:
    """L-6."""
    producer = Producer({"bootstrap.servers": broker.server})
    for number in range(100):
        producer.produce("orders", b"%d" % number, timestamp=1_700_000_000_000 + 10 * number)
    assert producer.flush(PATIENCE_S) == 0
    consumer = confluent_consumer(broker)
    assert consumer.get_watermark_offsets(TopicPartition("orders", 0), timeout=PATIENCE_S) == (0, 100)
    [found] = consumer.offsets_for_times([TopicPartition("orders", 0, 1_700_000_000_455)], timeout=PATIENCE_S)
    assert found.offset == 46
    consumer.close()
    admin = AdminClient({"bootstrap.servers": broker.server})
    partition = TopicPartition("orders", 0)
    latest = admin.list_offsets({partition: OffsetSpec.latest()})[partition].result(PATIENCE_S)
    newest = admin.list_offsets({partition: OffsetSpec.max_timestamp()})[partition].result(PATIENCE_S)
    assert (latest.offset, newest.offset, newest.timestamp) == (100, 99, 1_700_000_000_990)


def test_confluents_admin_creates_describes_and_deletes(broker: BrokerProcess) -> None:
    """L-17."""
    admin = AdminClient({"bootstrap.servers": broker.server})
    admin.create_topics([NewTopic("made", 3, 1, config={"segment.bytes": "1048576"})])["made"].result(PATIENCE_S)
    assert len(admin.list_topics("made", timeout=PATIENCE_S).topics["made"].partitions) == 3
    for bad, code in (
        (NewTopic("made", 1, 1), KafkaError.TOPIC_ALREADY_EXISTS),
        (NewTopic("no such ünicode", 1, 1), KafkaError.TOPIC_EXCEPTION),
        (NewTopic("many-replicas", 1, 3), KafkaError.INVALID_REPLICATION_FACTOR),
        (NewTopic("no-config", 1, 1, config={"segment.bites": "1"}), KafkaError.INVALID_CONFIG),
    ):
        with pytest.raises(KafkaException) as refused:
            admin.create_topics([bad])[bad.topic].result(PATIENCE_S)
        assert refused.value.args[0].code() == code
    cluster = admin.describe_cluster().result(PATIENCE_S)
    assert [f"{node.host}:{node.port}" for node in cluster.nodes] == [broker.server]
    admin.delete_topics(["made"])["made"].result(PATIENCE_S)
    assert "made" not in admin.list_topics(timeout=PATIENCE_S).topics


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_kafka_python_produces_and_consumes(broker: BrokerProcess, codec: str | None) -> None:
    producer = KafkaProducer(
        bootstrap_servers=broker.server, acks="all", compression_type=codec, enable_idempotence=False
    )
    futures = [
        producer.send("orders", b"value %d" % number, key=b"key", headers=[("n", b"%d" % number)])
        for number in range(200)
    ]
    producer.flush(PATIENCE_S)
    assert [future.get(PATIENCE_S).offset for future in futures] == list(range(200))
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=broker.server, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    consumer.assign([KafkaTopicPartition("orders", 0)])
    values = []
    for record in consumer:
        values.append(record.value)
        assert record.headers == [("n", record.value.rsplit(b" ", 1)[1])]
        if len(values) == 200:
            break
    consumer.close()
    assert values == [b"value %d" % number for number in range(200)]


def test_kafka_pythons_admin_sees_a_cluster(broker: BrokerProcess) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.server)
    admin.create_topics([KafkaNewTopic("made", num_partitions=4, replication_factor=1)])
    [described] = admin.describe_topics(["made"])
    assert len(described["partitions"]) == 4
    assert uuid.UUID(str(described["topic_id"])).version == 4
    admin.delete_topics(["made"])
    assert "made" not in admin.list_topics()
    admin.close()


def test_an_idempotent_producer_is_told_that_there_is_no_idempotence_yet(broker: BrokerProcess) -> None:
    """Half a promise would be worse: InitProducerId is not advertised, so the client says so itself."""
    producer = Producer({"bootstrap.servers": broker.server, "enable.idempotence": True, "log_level": 0})
    with pytest.raises(KafkaException, match="Idempotent producer not supported"):
        producer.poll(PATIENCE_S)
