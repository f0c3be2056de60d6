"""Real input for tests: a public project's history as JSON lines; or a seeded look-alike where it is absent."""

import gzip
import json
import random
from pathlib import Path

PROVIDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "commits.jsonl.gz"
COUNT = 14_012
MODULES = ("clients", "core", "streams", "connect", "docs", "tools", "metadata", "storage", "raft", ".gitignore")


def event_lines() -> list[bytes]:
    """All events, without line ends, in the order of the file."""
    if PROVIDED.exists():
        return gzip.decompress(PROVIDED.read_bytes()).splitlines()
    return _generated()


def key_of(line: bytes) -> str:
    """An event's key: the module it touched."""
    return str(json.loads(line)["module"])


def _generated() -> list[bytes]:
    dice = random.Random(20_110_801)
    at = 1_312_242_084_000
    lines = []
    for _ in range(COUNT):
        at += dice.randrange(1, 60_000_000)
        event = {
            "id": f"{dice.getrandbits(48):012x}",
            "at": at,
            "module": dice.choices(MODULES, weights=range(len(MODULES), 0, -1))[0],
            "files": dice.randrange(1, 60),
            "insertions": dice.randrange(5000),
            "deletions": dice.randrange(2000),
            "title": " ".join(dice.choices(("fix", "the", "log", "of", "añadir", "KAFKA-1", "é", "test"), k=8)),
        }
        lines.append(json.dumps(event, ensure_ascii=False).encode())
    return lines
