"""Makes the golden data directory of the format that is written today, and what it must be found to hold.

`python tests/golden/make.py` from the repository's root, once for each format; what was published is never made again,
for the brokers that wrote it are gone. Of each there are two archives, a directory that was closed and one whose broker
was killed in the middle of a write, and one table of facts, which both hold.
"""

import asyncio
import gzip
import io
import json
import shutil
import sys
import tarfile
import tempfile
from itertools import pairwise
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent
sys.path.insert(0, str(GOLDEN.parent))

from support.builders import BASE_TIMESTAMP, a_batch  # noqa: E402
from support.house import House, a_house  # noqa: E402
from tidelog.protocol.compression import Codec  # noqa: E402
from tidelog.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic  # noqa: E402
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest  # noqa: E402
from tidelog.protocol.messages.incremental_alter_configs import (  # noqa: E402
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse  # noqa: E402
from tidelog.protocol.messages.offset_commit import (  # noqa: E402
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.storage.checkpoint import replace_file  # noqa: E402
from tidelog.storage.digests import SUFFIX as DIGEST_SUFFIX  # noqa: E402
from tidelog.storage.disk import RealDisk  # noqa: E402
from tidelog.storage.log_directory import FORMAT_VERSION  # noqa: E402
from tidelog.storage.survey import make_digest  # noqa: E402

NOT_KEPT = frozenset({".reserve", ".lock"})
"""What holds nothing, and is made by each start."""
ROUNDS = 12
CODECS = (Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD)
TORN = 40
"""Bytes of a batch that were written when the broker was killed."""


async def fill(house: House) -> dict[str, object]:
    """Have the broker write something of every kind; the facts."""
    await house.create("orders", 2, segment_bytes="1024", index_interval_bytes="256")
    await house.create("doomed")
    answer = await house.ask(InitProducerIdRequest(transactional_id=None))
    assert isinstance(answer, InitProducerIdResponse)
    values: dict[str, list[str]] = {"orders-0": [], "orders-1": [], "orders-2": []}
    for number in range(ROUNDS):
        for index in (0, 1):
            texts = [f"{number} {record} of orders-{index}" for record in range(4)]
            batch = a_batch(
                [text.encode() for text in texts],
                key=b"key %d" % number,
                headers=(("round", b"%d" % number),),
                codec=CODECS[number % len(CODECS)],
                base_timestamp=BASE_TIMESTAMP + 1000 * number,
                producer_id=answer.producer_id if index == 0 else -1,
                producer_epoch=answer.producer_epoch if index == 0 else -1,
                base_sequence=4 * number if index == 0 else -1,
            )
            result = await house.produce("orders", batch, partition=index)
            assert result.error_code == 0  # type: ignore[union-attr]
            values[f"orders-{index}"] += texts
    grown = CreatePartitionsTopic(name="orders", count=3, assignments=None)
    await house.ask(CreatePartitionsRequest(topics=(grown,), timeout_ms=5000))
    config = AlterableConfig(name="max.message.bytes", config_operation=0, value="99999")
    resource = AlterConfigsResource(resource_type=2, resource_name="orders", configs=(config,))
    await house.ask(IncrementalAlterConfigsRequest(resources=(resource,)))
    await house.ask(DeleteTopicsRequest(topic_names=("doomed",)), 5)
    committed = OffsetCommitRequestPartition(partition_index=0, committed_offset=17, committed_metadata="golden")
    topics = (OffsetCommitRequestTopic(name="orders", partitions=(committed,)),)
    await house.ask(OffsetCommitRequest(group_id="billing", topics=topics), 8)
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    assert len(topic.partitions) == len(values)
    return {
        "topic_id": str(topic.topic_id),
        "configs": dict(topic.configs),
        "values": values,
        "producer": {"id": answer.producer_id, "epoch": answer.producer_epoch, "next_sequence": 4 * ROUNDS},
        "committed": {"group": "billing", "topic": "orders", "partition": 0, "offset": 17, "metadata": "golden"},
    }


def tear(data: Path) -> None:
    """As a kill in the middle of a write leaves it: a part of a batch, above the mark."""
    segment = max((data / "orders-1").glob("*.log"))
    segment.write_bytes(segment.read_bytes() + segment.read_bytes()[:TORN])


def add_digests(data: Path) -> None:
    """Those that the scrubber would come to write."""
    disk = RealDisk(str(data))
    for log in ("orders-0", "orders-1"):
        bases = sorted(int(path.stem) for path in (data / log).glob("*.log"))
        for base, following in pairwise(bases):
            path = f"{log}/{base:020d}"
            digest = make_digest(disk, f"{path}.log", base, following, verified_ms=BASE_TIMESTAMP)
            replace_file(disk, path + DIGEST_SUFFIX, digest.encode())


def pack(data: Path, archive: Path) -> None:
    """The same bytes for the same files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(data.rglob("*")):
            if path.name not in NOT_KEPT:
                info = tar.gettarinfo(str(path), str(path.relative_to(data)))
                info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
                if path.is_file():
                    with path.open("rb") as file:
                        tar.addfile(info, file)
                else:
                    tar.addfile(info)
    archive.write_bytes(gzip.compress(raw.getvalue(), mtime=0))


async def make(name: str) -> None:
    """Both archives and the table."""
    with tempfile.TemporaryDirectory() as scratch:
        data, killed = Path(scratch) / "data", Path(scratch) / "killed"
        settings = ("offsets.topic.num.partitions=1", "log.flush.offset.checkpoint.interval.ms=60000")
        async with a_house(data, *settings) as house:
            facts = await fill(house)
            shutil.copytree(data, killed, ignore=shutil.ignore_patterns(*NOT_KEPT))
        tear(killed)
        add_digests(data)
        pack(data, GOLDEN / f"{name}-closed.tar.gz")
        pack(killed, GOLDEN / f"{name}-killed.tar.gz")
        (GOLDEN / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    NAME = f"format-{FORMAT_VERSION}"
    if (GOLDEN / f"{NAME}.json").exists():
        sys.exit(f"{NAME} is there, and is not made again")
    asyncio.run(make(NAME))
