"""A record there and back: the shortest program that uses the client.

    python examples/orders.py

The broker is the one that TIDELOG_SERVER names, or 127.0.0.1:9092.
"""

import asyncio

import tidelog

TOPIC = "examples.orders"


async def main() -> None:
    """Send three orders, each durable before the next, and read them back."""
    async with tidelog.connect() as client:
        async with client.producer() as producer:
            for number, item in enumerate(("tea", "milk", "sugar")):
                # Returns when the record is on the broker's disk. The key decides the partition.
                sent = await producer.send(TOPIC, {"id": number, "item": item}, key="anna")
                print(f"sent {item} to {sent.topic}[{sent.partition}] at offset {sent.offset}")
        # Ends by itself at what is the end now; without `end` it would follow the topic.
        async for record in client.read(TOPIC, start="earliest", end="now"):
            print(f"read {record.json()} of {record.key!r} at offset {record.offset}")


if __name__ == "__main__":
    asyncio.run(main())
