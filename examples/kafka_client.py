"""The same topic from both sides: a Kafka client writes, tidelog's client reads.

pip install confluent-kafka
python examples/kafka_client.py
"""

import asyncio
import os

from confluent_kafka import Producer

import tidelog

TOPIC = "examples.payments"
SERVER = os.environ.get("TIDELOG_SERVER", "127.0.0.1:9092")


def pay() -> None:
    """Send three payments with librdkafka, which takes the broker for one of Kafka's."""
    producer = Producer({"bootstrap.servers": SERVER, "acks": "all"})
    for amount in (100, 250, 75):
        producer.produce(TOPIC, str(amount).encode(), key=b"anna", headers={"currency": b"EUR"})
    left = producer.flush(30)
    print(f"{left} payments left to send")


async def total() -> int:
    """Sum up every payment of the topic."""
    async with tidelog.connect(SERVER) as client:
        return sum([int(record.text) async for record in client.read(TOPIC, end="now")])


if __name__ == "__main__":
    pay()
    print(f"the total is {asyncio.run(total())}")
