"""What the cluster's metadata says of the logs beside it, read without a broker.

Besides `serve` the only file of the command line that knows anything of the broker: the bytes of its facts.
"""

from dataclasses import dataclass, field, replace
from uuid import UUID

from ..broker.metadata.records import PartitionsAdded, TopicCreated, TopicDeleted, UnknownFact, decode
from ..broker.topics.internal_topics import INTERNAL_TOPICS, METADATA_TOPIC, METADATA_TOPIC_ID
from ..protocol.errors import ProtocolError
from ..protocol.records import iterate
from ..storage.disk import Disk, File
from ..storage.errors import StorageError
from ..storage.log_directory import PARTITION_METADATA, encode_id, read_partition_metadata
from ..storage.salvage import Sound, read_through
from ..storage.survey import Finding, Grade, survey_log
from .log_files import METADATA_LOG

assert f"{METADATA_TOPIC}-0" == METADATA_LOG


@dataclass(slots=True)
class Facts:
    """What could be read."""

    topics: dict[UUID, TopicCreated] = field(default_factory=dict)
    """Those that exist."""
    bearers: dict[str, set[UUID]] = field(default_factory=dict)
    """All topics that ever had a name."""
    is_whole: bool = False
    """All that was durable could be read, and every fact."""
    findings: list[Finding] = field(default_factory=list)
    """Facts that cannot be understood, though their bytes are sound."""

    def topic_id(self, directory: str) -> UUID | None:
        """The id of the topic whose log a directory must be: if no other topic ever had that name, and all is known."""
        name, _, _ = directory.rpartition("-")
        return self._meant(directory) if directory == METADATA_LOG or len(self.bearers.get(name, ())) == 1 else None

    def directories(self) -> list[str]:
        """The logs that should be there."""
        return [f"{topic.name}-{index}" for topic in self.topics.values() for index in range(topic.partitions)]

    def is_internal(self, directory: str) -> bool:
        """Whether the topic whose log a directory must be is the broker's own, and cannot be deleted."""
        return directory.rpartition("-")[0] in INTERNAL_TOPICS

    def misnamed(self, disk: Disk, directory: str) -> Finding | None:
        """What is wrong with the topic's id in a log's directory, though it can be read."""
        meant = self._meant(directory)
        try:
            found = read_partition_metadata(disk, directory)
        except StorageError:
            return None
        if meant in (None, found):
            return None
        other = next((name for name, ids in self.bearers.items() if found in ids), None)
        reason = f"the id is {encode_id(found)} and not {encode_id(meant)}, as the cluster's metadata says"
        if other is not None:
            reason += f": this is the log of {'an older topic ' if found not in self.topics else ''}{other}"
        path = f"{directory}/{PARTITION_METADATA}"
        return Finding(
            # One that no topic ever had is a mistake of this file's. Of any other the records are another topic's.
            grade=Grade.DERIVED if other is None else Grade.DAMAGE,
            path=path,
            begin=0,
            end=disk.size(path),
            reason=reason,
        )

    def _meant(self, directory: str) -> UUID | None:
        """The id of the topic that has a directory's name now, if that is known."""
        if directory == METADATA_LOG:
            return METADATA_TOPIC_ID
        if not self.is_whole:
            return None
        name, _, partition = directory.rpartition("-")
        for topic_id in self.bearers.get(name, ()):
            topic = self.topics.get(topic_id)
            if topic is not None and int(partition) < topic.partitions:
                return topic_id
        return None


def read_facts(disk: Disk) -> Facts:
    """All facts of a data directory, as far as they can be read."""
    facts = Facts()
    if not disk.is_directory(METADATA_LOG):
        return facts
    found = survey_log(disk, METADATA_LOG, was_closed=False)
    # An older mark may stand below facts that are gone.
    facts.is_whole = found.durable_offset is not None and not found.mark_is_torn and not found.graded(Grade.DAMAGE)
    for segment in found.segments:
        try:
            file = disk.open(segment.path)
        except StorageError:
            continue  # which the survey has found, too
        try:
            _read(facts, file, segment.base_offset)
        finally:
            file.close()
    return facts


def _read(facts: Facts, file: File, base_offset: int) -> None:
    for part in read_through(file, base_offset):
        if not isinstance(part, Sound):
            continue
        try:
            for record in iterate(file.read(part.position, part.header.size)):
                _follow(facts, record.value or b"")
        except (UnknownFact, ProtocolError) as error:
            facts.is_whole = False
            facts.findings.append(
                Finding(
                    grade=Grade.DAMAGE,
                    path=file.path,
                    begin=part.position,
                    end=part.end,
                    reason=str(error),
                    first_offset=part.header.base_offset,
                    next_offset=part.header.next_offset,
                )
            )


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
