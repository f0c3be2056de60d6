"""Topics: every topic of the broker, by name and by id, with its partitions and settings.

The metadata log says which topics exist. A topic is created, and grows, by its logs and then a durable fact; it is
deleted by a durable fact and then its logs. So a log that a fact tells of and that is missing is a loss, whatever came
before, and never a creation that was cut short. A crash in between leaves directories: those of a deleted topic are
removed by the next start, and so are those that no fact knows and nothing was ever written to. Any other that no fact
knows is left alone and reported: unreadable metadata must never cost data.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from uuid import UUID

from ...protocol.errors import ErrorCode, RequestRefused
from ...storage.config import LogConfig, spelled
from ...storage.errors import CorruptLog, DiskFull, LogOffline, StorageError
from ...storage.log import Log
from ...storage.log_directory import LogDirectory, LogName
from ..config import BrokerConfig
from ..disk_space import MakeRoom, no_room, with_room
from ..environment import Environment
from ..metadata.records import ConfigsChanged, Fact, PartitionsAdded, ResourceType, TopicCreated, TopicDeleted
from ..metadata.store import MetadataStore
from ..metrics import Metrics
from .delayed_fetch import DelayedFetches
from .flusher import Flusher
from .internal_topics import INTERNAL_TOPICS, METADATA_TOPIC, effective_settings
from .partition import Partition

logger = logging.getLogger(__name__)

NAME_LENGTH_MAX = 249
SETTLED_AT_ONCE = 8
"""Disks take several syncs at a time, and make one of them."""
LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)

TopicWaiter = Callable[["Topic | Exception"], None]
"""Told once what became of a creation, a growth or a deletion."""


class What(Enum):
    """What can happen to a topic."""

    CREATED = "created"
    GROWN = "grown"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class TopicChange:
    """What has happened to a topic."""

    name: str
    topic_id: UUID
    what: What


ChangeListener = Callable[[TopicChange], None]


class Topic:
    """A topic that exists."""

    __slots__ = ("coming", "config", "configs", "name", "partitions", "topic_id")

    def __init__(self, fact: TopicCreated, config: LogConfig) -> None:
        self.name = fact.name
        self.topic_id = fact.topic_id
        self.configs: Mapping[str, str] = fact.configs
        """What was set for this topic, at creation or since; `config` holds these over the broker's defaults."""
        self.config = config
        self.partitions: list[Partition] = []
        self.coming: list[Partition] = []
        """Those of a growth under way, or of one that failed: their logs are there, and nobody sees them yet."""

    @property
    def is_internal(self) -> bool:
        """Clients read it at most."""
        return self.name in INTERNAL_TOPICS

    def reconfigure(self, config: LogConfig) -> None:
        """Other settings hold from here on, in every partition."""
        self.config = config
        for partition in (*self.partitions, *self.coming):
            partition.reconfigure(config)


class Topics:
    """The registry."""

    def __init__(
        self,
        *,
        directory: LogDirectory,
        store: MetadataStore,
        config: BrokerConfig,
        environment: Environment,
        flusher: Flusher,
        delayed_fetches: DelayedFetches,
        metrics: Metrics,
        make_room: MakeRoom = no_room,
    ) -> None:
        self._directory = directory
        self._store = store
        self._defaults = config.log
        self._environment = environment
        self._flusher = flusher
        self._delayed_fetches = delayed_fetches
        self._metrics = metrics
        self._make_room = make_room
        self._by_name: dict[str, Topic] = {}
        self._by_id: dict[UUID, Topic] = {}
        self._waiting_for: dict[str, list[TopicWaiter]] = {}
        """Names under creation, and who waits for them."""
        self._leaving: dict[str, list[Callable[[], None]]] = {}
        """Names whose deleted logs are still being removed, and what waits for that."""
        self._touched: dict[Partition, None] = {}
        self._listeners: list[ChangeListener] = []
        self._is_closed = False

    def __iter__(self) -> Iterator[Topic]:
        """All topics, in order of creation."""
        return iter(self._by_name.values())

    def __len__(self) -> int:
        """How many topics there are."""
        return len(self._by_name)

    # Looking up

    def by_name(self, name: str) -> Topic | None:
        """The topic of this name."""
        return self._by_name.get(name)

    def by_id(self, topic_id: UUID) -> Topic | None:
        """The topic of this id."""
        return self._by_id.get(topic_id)

    def find(self, name: str, topic_id: UUID) -> Topic:
        """By id where one is given, else by name [B-18, F-5].

        Raises RequestRefused: UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, INCONSISTENT_TOPIC_ID when both are given
        and differ.
        """
        if topic_id.int:
            topic = self._by_id.get(topic_id)
            if topic is None:
                raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_ID, f"This server does not host this topic ID: {topic_id}")
            if name and name != topic.name:
                raise RequestRefused(ErrorCode.INCONSISTENT_TOPIC_ID, f"{topic_id} is not the id of {name}")
            return topic
        topic = self._by_name.get(name)
        if topic is None:
            raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {name!r}")
        return topic

    def partition(self, topic: Topic, index: int) -> Partition:
        """A partition of a topic. Raises RequestRefused(UNKNOWN_TOPIC_OR_PARTITION)."""
        if not 0 <= index < len(topic.partitions):
            raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"no partition {topic.name}-{index}")
        return topic.partitions[index]

    def holds(self, topic: Topic) -> bool:
        """Whether the topic is there still: neither deleted, nor is everything at its end."""
        return self._by_id.get(topic.topic_id) is topic and not self._is_closed

    # Changes

    def on_change(self, listener: ChangeListener) -> None:
        """Tell this one of every topic that was created, has grown or was deleted, before anybody who asked for it."""
        self._listeners.append(listener)

    def tell(self, topic: Topic, what: What) -> None:
        """Something has happened to a topic; everybody can see it now."""
        change = TopicChange(topic.name, topic.topic_id, what)
        for listener in self._listeners:
            listener(change)

    # The end of a socket read

    def touch(self, partition: Partition) -> None:
        """Something is staged in this partition."""
        self._touched[partition] = None

    def write_out(self) -> None:
        """Write everything that is staged, one write a partition."""
        if self._touched:
            touched, self._touched = self._touched, {}
            for partition in touched:
                partition.write_out()

    # Start and stop

    def load(self, names: Sequence[LogName], facts: Iterable[Fact]) -> None:
        """Open the logs of every topic that the facts tell of; `names`: what the directory holds. Raises StorageError.

        All that an opened log holds is durable, and may be shown at once: recovery has synced it. One of which nothing
        can be opened is lost to whoever asks for it, and to nobody else.
        """
        created: dict[UUID, TopicCreated] = {}
        named: dict[str, UUID] = {}
        deleted: set[UUID] = set()
        for fact in facts:
            if isinstance(fact, TopicCreated):
                created[fact.topic_id] = fact
                named[fact.name] = fact.topic_id
            elif isinstance(fact, PartitionsAdded) and fact.topic_id in created:
                created[fact.topic_id] = replace(created[fact.topic_id], partitions=fact.partitions)
            elif isinstance(fact, ConfigsChanged) and fact.resource_type == ResourceType.TOPIC:
                topic_id = named.get(fact.resource_name)
                if topic_id in created:  # else it was deleted while the change was on its way to the disk
                    created[topic_id] = replace(created[topic_id], configs=fact.configs)
            elif isinstance(fact, TopicDeleted):
                created.pop(fact.topic_id, None)
                deleted.add(fact.topic_id)
        present: dict[LogName, None] = {}
        for name in names:
            if name.topic_id in deleted:
                self._delete_leftover(name)
            else:
                present[name] = None
        elsewhere = {(name.topic_id, name.partition): name.topic for name in present}
        known: set[tuple[str | UUID, int]] = set()
        for fact in created.values():
            topic = self._topic(fact)
            for index in range(fact.partitions):
                name = LogName(fact.name, index, fact.topic_id)
                known |= {(fact.name, index), (fact.topic_id, index)}
                is_there = name in present
                present.pop(name, None)
                other = elsewhere.get((fact.topic_id, index))
                log = self._load_log(topic, index, None if is_there else self._absence(topic, index, other))
                topic.partitions.append(self._partition(topic, index, log))
            self._add(topic)
        for name in present:
            if name.topic != METADATA_TOPIC:  # it is open, whatever its id says
                is_known = not known.isdisjoint({(name.topic, name.partition), (name.topic_id, name.partition)})
                self._sort_out(name, is_known=is_known)

    async def settle(self) -> None:
        """Have everything durable, and every log ready to be closed: several at a time, for each takes a few syncs."""
        self._is_closed = True  # nothing is made or deleted any more
        partitions = [partition for topic in self for partition in (*topic.partitions, *topic.coming)]
        for partition in partitions:
            partition.flush_now()
        await self._flusher.drain()
        waiting = deque(partition for partition in partitions if partition.log.is_durable)

        async def settle_each() -> None:
            while waiting:
                partition = waiting.popleft()
                try:
                    await self._environment.run_blocking(partition.log.settle)
                except DiskFull:
                    pass  # who closes it has room made
                except StorageError as error:
                    line = "log could not be settled topic=%s partition=%d error=%s"
                    logger.error(line, partition.topic, partition.index, error)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(SETTLED_AT_ONCE):
                tasks.create_task(settle_each())

    def close(self) -> None:
        """Close every log; nothing may be appended any more. The next start clears away what is half made or deleted.

        Raises the last StorageError, once all have been tried.
        """
        self._is_closed = True
        failure: StorageError | None = None
        for topic in self:
            for partition in (*topic.partitions, *topic.coming):
                try:
                    with_room(self._make_room, partition.log.close)
                except StorageError as error:
                    partition.log.discard()
                    failure = error
                    logger.error(
                        "log could not be closed topic=%s partition=%d error=%s", topic.name, partition.index, error
                    )
        if failure is not None:
            raise failure

    # Settings

    def set_defaults(self, defaults: LogConfig) -> None:
        """A topic that says nothing else has these from here on."""
        if defaults != self._defaults:
            self._defaults = defaults
            for topic in self:
                topic.reconfigure(self._config_of(topic.name, topic.configs))

    def configure(self, topic: Topic, configs: Mapping[str, str]) -> None:
        """These are the topic's own settings from here on; they are durable. Raises ConfigError."""
        config = self._config_of(topic.name, configs)
        topic.configs = configs
        topic.reconfigure(config)

    def _config_of(self, name: str, configs: Mapping[str, str]) -> LogConfig:
        return self._defaults.with_overrides(effective_settings(name, configs))

    # Creation and deletion

    def check_name(self, name: str) -> None:
        """Kafka's rules for names [L-16]. Raises RequestRefused(INVALID_TOPIC or TOPIC_ALREADY_EXISTS)."""
        check_legal_name(name)
        if name in INTERNAL_TOPICS:
            raise _invalid_name(f"Topic '{name}' is internal: only the broker creates it")
        if name in self._by_name or name in self._waiting_for:
            raise RequestRefused(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
        merged = name.replace(".", "_")
        for other in (*self._by_name, *self._waiting_for):
            if other.replace(".", "_") == merged:
                # Kafka's metric names merge the two characters; tools that build on them would mix the topics up.
                raise _invalid_name(f"Topic '{name}' collides with existing topic: {other}")

    def create(self, name: str, *, partitions: int, configs: Mapping[str, str], waiter: TopicWaiter) -> UUID:
        """Create a topic; `waiter` gets it once the fact of it is durable, or the error.

        Returns the new id. Raises RequestRefused on an illegal name, ConfigError on an illegal setting.
        """
        self.check_name(name)
        return self._create_named(name, partitions, spelled(configs), waiter)

    def create_internal(
        self, name: str, *, partitions: int, configs: Mapping[str, str], waiter: TopicWaiter
    ) -> UUID | None:
        """Create one of the broker's own topics; `waiter` gets it once the fact of it is durable, or the error.

        Returns the new id; None when it is being created already, for somebody else. It must not exist.
        """
        assert name in INTERNAL_TOPICS, f"{name} is a user's"
        assert name not in self._by_name, f"{name} is there"
        if self.await_creation(name, waiter):
            return None
        return self._create_named(name, partitions, spelled(configs), waiter)

    def _create_named(self, name: str, partitions: int, configs: dict[str, str], waiter: TopicWaiter) -> UUID:
        fact = TopicCreated(
            name=name,
            topic_id=UUID(int=self._environment.random.getrandbits(128), version=4),
            partitions=partitions,
            configs=configs,
        )
        topic = self._topic(fact)
        self._waiting_for[name] = [waiter]

        def begin() -> None:
            asyncio.get_running_loop().call_soon(self._create_next, topic, fact)

        self._when_gone(name, begin)
        return fact.topic_id

    def await_creation(self, name: str, waiter: TopicWaiter) -> bool:
        """Hear of a creation that is under way; false when there is none."""
        waiters = self._waiting_for.get(name)
        if waiters is None:
            return False
        waiters.append(waiter)
        return True

    def delete(self, topic: Topic, waiter: TopicWaiter) -> None:
        """Delete a topic; `waiter` hears once the fact is durable, the files follow."""

        def durable(error: Exception | None) -> None:
            if error is not None:
                waiter(error)
                return
            if self._by_id.pop(topic.topic_id, None) is None:
                waiter(RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {topic.name!r}"))
                return
            del self._by_name[topic.name]
            doomed = (*topic.partitions, *topic.coming)
            for partition in doomed:
                partition.deleted = True  # all of them, before the first fetch is woken that reads several
            for partition in doomed:
                partition.detach()
            self._metrics.forget_topic(topic.name)
            logger.info("topic deleted topic=%s id=%s", topic.name, topic.topic_id)
            self.tell(topic, What.DELETED)
            self._leaving[topic.name] = []
            self._delete_next(topic.name, doomed)
            waiter(topic)

        self._store.append([TopicDeleted(topic.topic_id)], durable)

    def _create_next(self, topic: Topic, fact: TopicCreated) -> None:
        # One log a turn of the loop: each costs a few fsyncs, and a hundred of them must not stall everybody else.
        if self._is_closed:
            return
        try:
            topic.partitions.append(self.make_partition(topic, len(topic.partitions)))
        except StorageError as error:
            self._undo_creation(topic, error)
            return
        if len(topic.partitions) < fact.partitions:
            asyncio.get_running_loop().call_soon(self._create_next, topic, fact)
            return
        self._store.append([fact], lambda error: self._created(topic, error))

    def _created(self, topic: Topic, error: Exception | None) -> None:
        if self._is_closed:
            return
        if error is not None:
            self._undo_creation(topic, error)
            return
        topic.reconfigure(self._config_of(topic.name, topic.configs))  # they may have changed while it was made
        self._add(topic)
        logger.info("topic created topic=%s id=%s partitions=%d", topic.name, topic.topic_id, len(topic.partitions))
        self.tell(topic, What.CREATED)
        self._creation_ended(topic.name, topic)

    def _undo_creation(self, topic: Topic, cause: Exception) -> None:
        logger.error("topic could not be created topic=%s error=%s", topic.name, cause)
        if self._store.log.offline:
            # The fact may be durable all the same: the next start finds it and its logs, or logs that nothing needs.
            for partition in topic.partitions:
                partition.log.discard()
        else:
            self._leaving[topic.name] = []
            self._delete_next(topic.name, topic.partitions)
        self._creation_ended(topic.name, cause)

    def _creation_ended(self, name: str, outcome: Topic | Exception) -> None:
        for waiter in self._waiting_for.pop(name):
            waiter(outcome)

    # The logs

    def make_partition(self, topic: Topic, index: int) -> Partition:
        """Make an empty log, durably, and a partition on it, which nobody sees before a fact tells of it.

        Raises StorageError; also if no fact could follow.
        """
        if self._store.log.offline:
            raise LogOffline(self._store.log.directory, "no topic can be made, and none can grow")
        log = self._directory.create_log(
            topic.name, index, topic_id=topic.topic_id, config=topic.config, now_ms=self._environment.now_ms()
        )
        return self._partition(topic, index, log)

    def _when_gone(self, name: str, action: Callable[[], None]) -> None:
        """Once no log of a deleted topic of that name is left; at once if none is."""
        waiting = self._leaving.get(name)
        if waiting is None:
            action()
        else:
            waiting.append(action)

    def _delete_next(self, name: str, partitions: Sequence[Partition]) -> None:
        if self._is_closed:
            return
        if not partitions:
            for action in self._leaving.pop(name):
                action()
            return
        self._flusher.when_free(partitions[0], lambda: self._delete_first(name, partitions))

    def _delete_first(self, name: str, partitions: Sequence[Partition]) -> None:
        if self._is_closed:
            return
        first, *others = partitions
        try:
            with_room(self._make_room, lambda: self._delete_log(first))  # the new name of a directory may need a block
        except StorageError as error:
            # The next start deletes what is left.
            logger.warning("log not deleted yet topic=%s partition=%d error=%s", first.topic, first.index, error)
        asyncio.get_running_loop().call_soon(self._delete_next, name, others)

    def _delete_log(self, partition: Partition) -> None:
        log = partition.log
        if log.recovered.lost:
            if not self._directory.has_log(partition.topic, partition.index):
                log.discard()
                return
            # What lies in its place was never opened. If it says that it is another topic's, it is not ours to delete.
            lies_there = self._directory.topic_id_of(partition.topic, partition.index)
            if lies_there not in (None, partition.topic_id):
                log.discard()
                line = "directory of another topic, left alone topic=%s partition=%d id=%s"
                logger.warning(line, partition.topic, partition.index, lies_there)
                return
        self._directory.delete_log(log, token=self._token())

    def _absence(self, topic: Topic, index: int, other: str | None) -> CorruptLog:
        """Why a partition has no log at a start; `other`: where one lies that says that it is this partition's."""
        name = f"{topic.name}-{index}"
        if self._directory.has_log(topic.name, index):
            # Its id is another topic's, or cannot be read: to take it for this topic's would be guessing.
            reason = "what lies there does not say that it is this topic's"
        elif other is not None:
            reason = f"missing; {other}-{index} says that it is this topic's: rename it, and start again"
        else:
            way_on = "make an empty one with tidelog log recreate" if topic.is_internal else "delete the topic"
            reason = f"missing, with all its records: put the directory back and start again, or {way_on}"
        return CorruptLog(name, 0, reason)

    def _load_log(self, topic: Topic, index: int, absence: CorruptLog | None) -> Log:
        """The log of a partition at a start: whatever is wrong with it, the others are served."""
        try:
            if absence is not None:
                raise absence
            return with_room(self._make_room, lambda: self._open(topic, index))
        except StorageError as error:
            logger.error("log cannot be opened, quarantined topic=%s partition=%d error=%s", topic.name, index, error)
            self._metrics.topic_error(topic.name, "quarantined")
            return self._directory.lost_log(topic.name, index, topic.config, because=error)

    def _sort_out(self, name: LogName, *, is_known: bool) -> None:
        """What no fact knows is removed if nothing was ever written to it, and else left alone.

        So is what a fact knows by its name or by its id: its other half is damaged, and can be mended.
        """
        facts = (name.topic, name.partition, name.topic_id)
        if not is_known and self._directory.is_unused(name):
            logger.info("removing a log whose topic was not made topic=%s partition=%d id=%s", *facts)
            self._delete_leftover(name)
        else:
            logger.warning("directory without a topic, left alone topic=%s partition=%d id=%s", *facts)

    def _delete_leftover(self, name: LogName) -> None:
        try:
            self._directory.delete_leftover(name, token=self._token())
        except StorageError as error:
            # The next start tries again.
            logger.warning("log not deleted yet topic=%s partition=%d error=%s", name.topic, name.partition, error)

    def _open(self, topic: Topic, index: int) -> Log:
        log = self._directory.open_log(topic.name, index, topic.config, now_ms=self._environment.now_ms())
        recovered = log.recovered
        self._metrics.recovery_truncated_bytes += recovered.truncated_bytes
        if recovered.quarantined is not None:
            self._metrics.topic_error(topic.name, "quarantined")
        return log

    def _partition(self, topic: Topic, index: int, log: Log) -> Partition:
        return Partition(
            log,
            topic=topic.name,
            topic_id=topic.topic_id,
            index=index,
            flusher=self._flusher,
            touched=self,
            fetch_waiters=self._delayed_fetches,
            metrics=self._metrics,
        )

    def _topic(self, fact: TopicCreated) -> Topic:
        return Topic(fact, self._config_of(fact.name, fact.configs))

    def _add(self, topic: Topic) -> None:
        self._by_name[topic.name] = topic
        self._by_id[topic.topic_id] = topic

    def _token(self) -> str:
        return f"{self._environment.random.getrandbits(128):032x}"


def check_legal_name(name: str) -> None:
    """Whether a topic could be called so [L-16]. Raises RequestRefused(INVALID_TOPIC)."""
    if not name:
        raise _invalid_name("Topic name is invalid: the empty string is not allowed")
    if name in (".", ".."):
        raise _invalid_name(f"Topic name is invalid: '{name}' is not allowed")
    if len(name) > NAME_LENGTH_MAX:
        raise _invalid_name(
            f"Topic name is invalid: the length of '{name}' is longer than the max allowed length {NAME_LENGTH_MAX}"
        )
    if not LEGAL_NAME.fullmatch(name):
        raise _invalid_name(
            f"Topic name is invalid: '{name}' contains one or more characters other than "
            "ASCII alphanumerics, '.', '_' and '-'"
        )


def _invalid_name(message: str) -> RequestRefused:
    return RequestRefused(ErrorCode.INVALID_TOPIC_EXCEPTION, message)
