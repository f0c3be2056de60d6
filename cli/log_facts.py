"""What the cluster's metadata says of the logs beside it, read without a broker.

Besides `serve` the only file of the command line that knows anything of the broker: the bytes of its facts.
"""

from dataclasses import dataclass, field, replace
from uuid import UUID

from ..broker.metadata.records import PartitionsAdded, TopicCreated, TopicDeleted, UnknownFact, decode
from ..protocol.errors import ProtocolError
from ..protocol.records import iterate
from ..storage.disk import Disk
from ..storage.leftovers import segment_bases
from ..storage.salvage import Gap, read_through
from ..storage.segment import SUFFIX
from ..storage.survey import Finding, Grade

METADATA_LOG = "__cluster_metadata-0"


@dataclass(slots=True)
class Facts:
    """What could be read."""

    topics: dict[UUID, TopicCreated] = field(default_factory=dict)
    """Those that exist."""
    bearers: dict[str, set[UUID]] = field(default_factory=dict)
    """All topics that ever had a name."""
    is_whole: bool = True
    """Every batch could be read, up to the log's end, and every fact."""
    findings: list[Finding] = field(default_factory=list)
    """Facts that cannot be understood, though their bytes are sound."""

    def topic_id(self, directory: str) -> UUID | None:
        """The id of the topic whose log a directory must be: if no other topic ever had that name, and all is known."""
        name, _, partition = directory.rpartition("-")
        bearers = self.bearers.get(name, set())
        if not self.is_whole or len(bearers) != 1:
            return None
        [topic_id] = bearers
        topic = self.topics.get(topic_id)
        return topic_id if topic is not None and int(partition) < topic.partitions else None

    def directories(self) -> list[str]:
        """The logs that should be there."""
        return [f"{topic.name}-{index}" for topic in self.topics.values() for index in range(topic.partitions)]


def read_facts(disk: Disk) -> Facts:
    """All facts of a data directory, as far as they can be read. Raises StorageError."""
    facts = Facts()
    bases = segment_bases(disk, METADATA_LOG) if disk.is_directory(METADATA_LOG) else []
    facts.is_whole = bool(bases)
    for base in bases:
        path = f"{METADATA_LOG}/{base:020d}{SUFFIX}"
        file = disk.open(path)
        try:
            for part in read_through(file, base):
                if isinstance(part, Gap):
                    facts.is_whole = False
                    continue
                try:
                    for record in iterate(file.read(part.position, part.header.size)):
                        _follow(facts, record.value or b"")
                except (UnknownFact, ProtocolError) as error:
                    facts.is_whole = False
                    facts.findings.append(
                        Finding(
                            grade=Grade.DAMAGE,
                            path=path,
                            begin=part.position,
                            end=part.end,
                            reason=str(error),
                            first_offset=part.header.base_offset,
                            next_offset=part.header.next_offset,
                        )
                    )
        finally:
            file.close()
    return facts


def _follow(facts: Facts, value: bytes) -> None:
    """Raises UnknownFact."""
    fact = decode(value)
    if isinstance(fact, TopicCreated):
        facts.topics[fact.topic_id] = fact
        facts.bearers.setdefault(fact.name, set()).add(fact.topic_id)
    elif isinstance(fact, PartitionsAdded) and fact.topic_id in facts.topics:
        facts.topics[fact.topic_id] = replace(facts.topics[fact.topic_id], partitions=fact.partitions)
    elif isinstance(fact, TopicDeleted):
        facts.topics.pop(fact.topic_id, None)
