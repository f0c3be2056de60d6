"""Topics: every topic of the broker, by name and by id, with its partitions and settings.

The metadata log says which topics exist; directories follow it. A topic is created by a durable fact and then its
logs, grows by a durable fact and then its new logs, is deleted by a durable fact and then its logs; a crash in between
is finished at the next start. A directory that no fact knows is left alone and reported: unreadable metadata must never
cost data.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from uuid import UUID

from ...protocol.errors import ErrorCode, RequestRefused
from ...storage.config import LogConfig, spelled
from ...storage.errors import CorruptLog, DiskFull, StorageError
from ...storage.log import Log
from ...storage.log_directory import LogDirectory, LogName
from ..config import BrokerConfig
from ..disk_space import MakeRoom, no_room
from ..environment import Environment
from ..metadata.records import ConfigsChanged, Fact, PartitionsAdded, ResourceType, TopicCreated, TopicDeleted
from ..metadata.store import MetadataStore
from ..metrics import Metrics
from .delayed_fetch import DelayedFetches
from .flusher import Flusher
from .internal_topics import INTERNAL_TOPICS, METADATA_TOPIC_ID, effective_settings
from .partition import Partition

logger = logging.getLogger(__name__)

NAME_LENGTH_MAX = 249
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

    __slots__ = ("coming", "config", "configs", "name", "partitions", "promised", "topic_id")

    def __init__(self, fact: TopicCreated, config: LogConfig) -> None:
        self.name = fact.name
        self.topic_id = fact.topic_id
        self.configs: Mapping[str, str] = fact.configs
        """What was set for this topic, at creation or since; `config` holds these over the broker's defaults."""
        self.config = config
        self.partitions: list[Partition] = []
        self.coming: list[Partition] = []
        """Those of a growth under way: their logs are there, and nobody sees them yet."""
        self.promised = fact.partitions
        """How many partitions the facts speak of."""

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
        for fact in created.values():
            topic = self._topic(fact)
            for index in range(fact.partitions):
                name = LogName(fact.name, index, fact.topic_id)
                is_there = name in present
                present.pop(name, None)
                log = self._load_log(topic, index, is_there=is_there, other=elsewhere.get((fact.topic_id, index)))
                topic.partitions.append(self._partition(topic, index, log))
            self._add(topic)
        for name in present:
            if name.topic_id != METADATA_TOPIC_ID:
                line = "directory without a topic, left alone topic=%s partition=%d id=%s"
                logger.warning(line, name.topic, name.partition, name.topic_id)

    def close(self) -> None:
        """Close every log; nothing may be appended any more. The next start ends what is half created or deleted.

        Raises the last StorageError, once all have been tried.
        """
        self._is_closed = True
        failure: StorageError | None = None
        for topic in self:
            for partition in (*topic.partitions, *topic.coming):
                try:
                    partition.log.close()
                except StorageError as error:
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
        """Create a topic; `waiter` gets it once its logs are there, or the error.

        Returns the new id. Raises RequestRefused on an illegal name, ConfigError on an illegal setting.
        """
        self.check_name(name)
        return self._create_named(name, partitions, spelled(configs), waiter)

    def create_internal(
        self, name: str, *, partitions: int, configs: Mapping[str, str], waiter: TopicWaiter
    ) -> UUID | None:
        """Create one of the broker's own topics; `waiter` gets it once its logs are there, or the error.

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
        self._waiting_for[name] = [waiter]

        def durable(error: Exception | None) -> None:
            if error is not None:
                self._creation_ended(name, error)
            else:
                self._when_gone(name, lambda: self._create_next(self._topic(fact), partitions))

        self._store.append([fact], durable)
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
            self._flusher.after_round(lambda: self._delete_next(topic.name, doomed))
            waiter(topic)

        self._store.append([TopicDeleted(topic.topic_id)], durable)

    def _create_next(self, topic: Topic, partitions: int) -> None:
        # One log a turn of the loop: each costs a few fsyncs, and a hundred of them must not stall everybody else.
        if self._is_closed:
            return
        try:
            topic.partitions.append(self.make_partition(topic, len(topic.partitions)))
        except StorageError as error:
            self._undo_creation(topic, error)
            return
        if len(topic.partitions) < partitions:
            asyncio.get_running_loop().call_soon(self._create_next, topic, partitions)
            return
        topic.reconfigure(self._config_of(topic.name, topic.configs))  # they may have changed while it was made
        self._add(topic)
        logger.info("topic created topic=%s id=%s partitions=%d", topic.name, topic.topic_id, partitions)
        self.tell(topic, What.CREATED)
        self._creation_ended(topic.name, topic)

    def _undo_creation(self, topic: Topic, cause: StorageError) -> None:
        logger.error("topic could not be created topic=%s error=%s", topic.name, cause)

        def withdrawn(error: Exception | None) -> None:
            self._leaving[topic.name] = []
            self._delete_next(topic.name, topic.partitions)
            self._creation_ended(topic.name, error or cause)

        self._store.append([TopicDeleted(topic.topic_id)], withdrawn)

    def _creation_ended(self, name: str, outcome: Topic | Exception) -> None:
        for waiter in self._waiting_for.pop(name):
            waiter(outcome)

    # The logs

    def make_partition(self, topic: Topic, index: int) -> Partition:
        """Make an empty log, durably, and a partition on it, which nobody sees yet. Raises StorageError."""
        return self._partition(topic, index, self._create(topic, index))

    def has_log(self, topic: Topic, index: int) -> bool:
        """Whether a log lies where a partition's would be made, be it another topic's that nobody knows."""
        return self._directory.has_log(topic.name, index)

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
        first, *others = partitions
        try:
            self._delete_log(first)
        except StorageError as error:
            if isinstance(error, DiskFull) and self._make_room():
                self._delete_next(name, partitions)  # the new name of a directory may need a block
                return
            # The fact is durable: the next start deletes what is left.
            logger.warning("log not deleted yet topic=%s partition=%d error=%s", first.topic, first.index, error)
        asyncio.get_running_loop().call_soon(self._flusher.after_round, lambda: self._delete_next(name, others))

    def _delete_log(self, partition: Partition) -> None:
        log = partition.log
        if log.recovered.lost:
            # What lies in its place was never opened. If it says that it is another topic's, it is not ours to delete.
            lies_there = self._directory.topic_id_of(partition.topic, partition.index)
            if lies_there not in (None, partition.topic_id):
                log.discard()
                line = "directory of another topic, left alone topic=%s partition=%d id=%s"
                logger.warning(line, partition.topic, partition.index, lies_there)
                return
        self._directory.delete_log(log, token=self._token())

    def _load_log(self, topic: Topic, index: int, *, is_there: bool, other: str | None) -> Log:
        """The log of a partition at a start: whatever is wrong with it, the others are served."""
        directory = f"{topic.name}-{index}"
        try:
            if is_there:
                return self._open(topic, index)
            if self._directory.has_log(topic.name, index):
                # Its id is another topic's, or cannot be read: to take it for this topic's would be guessing.
                raise CorruptLog(directory, 0, "what lies there does not say that it is this topic's")
            if other is not None:
                raise CorruptLog(directory, 0, f"missing; {other}-{index} says that it is this topic's")
            return self._replace(topic, index)
        except StorageError as error:
            if isinstance(error, DiskFull) and self._make_room():
                return self._load_log(topic, index, is_there=is_there, other=other)
            logger.error("log cannot be opened, quarantined topic=%s partition=%d error=%s", topic.name, index, error)
            self._metrics.topic_error(topic.name, "quarantined")
            return self._directory.lost_log(topic.name, index, topic.config, because=error)

    def _delete_leftover(self, name: LogName) -> None:
        try:
            self._directory.delete_leftover(name, token=self._token())
        except StorageError as error:
            # The fact is durable: the next start tries again.
            logger.warning("log not deleted yet topic=%s partition=%d error=%s", name.topic, name.partition, error)

    def _open(self, topic: Topic, index: int) -> Log:
        log = self._directory.open_log(topic.name, index, topic.config, now_ms=self._environment.now_ms())
        recovered = log.recovered
        self._metrics.recovery_truncated_bytes += recovered.truncated_bytes
        if recovered.quarantined is not None:
            self._metrics.topic_error(topic.name, "quarantined")
        return log

    def _replace(self, topic: Topic, index: int) -> Log:
        # A crash between the fact and the logs leaves such a hole, and so does whoever removes a directory by hand.
        logger.warning("log missing, made anew and empty topic=%s partition=%d", topic.name, index)
        self._metrics.topic_error(topic.name, "missing")
        return self._create(topic, index)

    def _create(self, topic: Topic, index: int) -> Log:
        now_ms = self._environment.now_ms()
        return self._directory.create_log(
            topic.name, index, topic_id=topic.topic_id, config=topic.config, now_ms=now_ms
        )

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
