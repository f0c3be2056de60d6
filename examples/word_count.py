"""Lines into one topic in bulk, their words counted into another: a small stream processor.

    python examples/word_count.py README.md

Run it twice and every line counts twice: a topic keeps what it was given.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import tidelog

LINES = "examples.lines"
COUNTS = "examples.counts"


async def main(lines: list[str]) -> None:
    """Send the lines, then count what the topic holds."""
    async with tidelog.connect(client_id="word-count") as client:
        await ensure_topic(client, LINES, partitions=3)
        await ensure_topic(client, COUNTS, partitions=1)
        async with client.producer(compression="zstd") as producer:
            # Batched and bounded in memory however many there are; returns when all of them are durable.
            summary = await producer.send_many(LINES, lines)
            print(f"sent {summary.count} lines in {summary.batches} batches")
            words = await count_words(client)
            await producer.send_many(COUNTS, words.items(), key=lambda pair: pair[0], value=lambda pair: str(pair[1]))
        async for record in client.read(COUNTS, start=-3, end="now"):
            print(f"{record.key!r}: {record.text}")


async def ensure_topic(client: tidelog.Client, name: str, *, partitions: int) -> None:
    """Create a topic unless it is there."""
    try:
        await client.admin.create_topic(name, partitions)
    except tidelog.TopicExists:
        pass


async def count_words(client: tidelog.Client) -> Counter[str]:
    """Words of all lines there are, the rarest first, so that the last counts are the greatest."""
    counted: Counter[str] = Counter()
    async for line in client.read(LINES, end="now"):
        counted.update(line.text.split())
    return Counter(dict(sorted(counted.items(), key=lambda pair: (pair[1], pair[0]))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/word_count.py FILE")
    asyncio.run(main(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()))
