"""Server: puts the house together, starts it and takes it down.

Start: lock the data directory, replay the metadata, recover the logs, listen. Stop:
let nobody in, answer what was asked, sync, close the logs, leave the clean-shutdown marker.
"""

import asyncio
import base64
import logging

from .. import __version__
from ..storage.config import LogConfig
from ..storage.errors import StorageError
from ..storage.log import Log
from ..storage.log_directory import FILES_OF_A_SEGMENT, LogDirectory
from .config import BrokerConfig, HttpAddress, join_address
from .coordinator.producer_ids import ProducerIds
from .coordinator.runtime import CoordinatorRuntime
from .disk_space import DiskSpace, with_room
from .dynamic_configs import DynamicConfigs
from .environment import Environment
from .first_unread import FirstUnread
from .housekeeping import Housekeeping
from .memory import RequestMemory, ResponseMemory
from .metadata.cluster import Cluster
from .metadata.soundness import MetadataDamaged, check_metadata
from .metadata.store import MetadataStore
from .metrics import BrokerFacts, Metrics
from .network.commons import Commons
from .network.dispatcher import Dispatcher
from .network.http import HttpServer
from .network.limits import ConnectionLimits
from .network.listener import Listener
from .request import Address
from .scrubber import Scrubber
from .services import Services
from .topics.delayed_fetch import DelayedFetches
from .topics.fetch_sessions import FetchSessions
from .topics.flusher import INLINE_SYNC_MAX_S, Flusher
from .topics.growth import Growth
from .topics.internal_topics import METADATA_TOPIC, METADATA_TOPIC_ID
from .topics.registry import Topics

logger = logging.getLogger(__name__)

RECEIVE_BUFFER_SIZE = 256 * 1024
"""Shared by all connections: what one socket read may bring."""


class Server:
    """The broker, from start to stop."""

    def __init__(
        self, config: BrokerConfig, environment: Environment, *, inline_sync_max_s: float = INLINE_SYNC_MAX_S
    ) -> None:
        self.metrics = Metrics()
        self._config = config
        self._environment = environment
        self._flusher = Flusher(environment, self.metrics, inline_max_s=inline_sync_max_s)
        self._directory: LogDirectory | None = None
        self._disk_space: DiskSpace | None = None
        self._metadata_log: Log | None = None
        self._topics: Topics | None = None
        self._growth: Growth | None = None
        self._configs: DynamicConfigs | None = None
        self._producer_ids: ProducerIds | None = None
        self._groups: CoordinatorRuntime | None = None
        self._services: Services | None = None
        self._requests = RequestMemory(config.queued_max_request_bytes)
        self._responses = ResponseMemory(config.queued_max_response_bytes)
        self._delayed_fetches = DelayedFetches(self._responses.when_free)
        self._commons: Commons | None = None
        self._housekeeping: Housekeeping | None = None
        self._scrubber: Scrubber | None = None
        self._listeners: list[Listener] = []
        self._http: HttpServer | None = None
        self._http_address: Address | None = None
        self._started_ms = 0
        self._state = "starting"

    @property
    def addresses(self) -> list[str]:
        """Where it listens for clients, as bound."""
        return [listener.name for listener in self._listeners]

    @property
    def http_address(self) -> str | None:
        """Where metrics and health are served."""
        return None if self._http_address is None else join_address(self._http_address.host, self._http_address.port)

    @property
    def topics(self) -> Topics:
        """The registry; there once it has started."""
        assert self._topics is not None, "not started"
        return self._topics

    @property
    def services(self) -> Services:
        """What handlers work with; there once it has started."""
        assert self._services is not None, "not started"
        return self._services

    async def start(self) -> None:
        """Be ready for clients. Raises OSError, StorageError, MetadataDamaged; the data directory is released then."""
        self._started_ms = self._environment.now_ms()
        began = self._environment.monotonic()
        try:
            topics = self._open_data()
            self.metrics.recovery_seconds = self._environment.monotonic() - began
            await self._listen(topics)
            if self._config.http is not None:
                await self._serve_http(self._config.http)
        except BaseException:
            await self._abandon_start()
            raise
        assert self._metadata_log is not None
        assert self._commons is not None
        self._housekeeping = Housekeeping(
            configs=self.services.configs,
            environment=self._environment,
            topics=topics,
            metadata_log=self._metadata_log,
            listeners=self._listeners,
            commons=self._commons,
        )
        self._housekeeping.start(self.metrics)
        self._scrubber = Scrubber(
            configs=self.services.configs,
            environment=self._environment,
            topics=topics,
            metadata_log=self._metadata_log,
            metrics=self.metrics,
        )
        self._scrubber.start()
        self.services.disk_space.start()
        self.services.groups.start()
        self._state = "running"
        logger.info("started listeners=%s http=%s topics=%d", self.addresses, self.http_address, len(topics))

    async def stop(self) -> None:
        """Answer what was asked, sync, close. Safe to call when `start` failed."""
        if self._state != "running":
            return
        self._state = "draining"
        if self._housekeeping is not None:
            self._housekeeping.stop()
        if self._scrubber is not None:
            self._scrubber.stop()
        for listener in self._listeners:
            listener.stop_accepting()
        self._delayed_fetches.finish_all()
        self.services.groups.stop()
        deadline = asyncio.get_running_loop().time() + self._config.shutdown_grace_ms / 1000
        for listener in self._listeners:
            await listener.drain(deadline=deadline)
        await self._flusher.drain()
        if self._http is not None:
            await self._http.stop()
        await self.services.disk_space.stop()
        if self._housekeeping is not None:
            await self._housekeeping.drain()
        await self.topics.settle()
        self._close_data()
        self._state = "stopped"
        logger.info("stopped")

    # Parts of the start

    def _open_data(self) -> Topics:
        environment, config = self._environment, self._config
        now_ms = environment.now_ms()
        disk = environment.disk(config.data_dir)
        directory = LogDirectory.open(
            disk,
            cluster_id=self._new_cluster_id,
            now_ms=now_ms,
            node_id=config.node_id,
            open_segments_max=config.open_files_max // FILES_OF_A_SEGMENT,
            check=check_metadata,
        )
        self._directory = directory
        self._flusher.lies_on(disk)
        space = self._disk_space = DiskSpace(disk, config, environment=environment, metrics=self.metrics)
        space.prepare()
        names = directory.logs()
        if any(name.topic == METADATA_TOPIC for name in names):
            self._metadata_log = directory.open_log(METADATA_TOPIC, 0, LogConfig(), now_ms=now_ms)
            damage = self._metadata_log.recovered.quarantined
            if damage is not None:
                raise MetadataDamaged(damage, was_checked=True)
        else:
            self._metadata_log = directory.create_log(METADATA_TOPIC, 0, METADATA_TOPIC_ID, LogConfig(), now_ms=now_ms)
        store = MetadataStore(
            self._metadata_log, environment=environment, flusher=self._flusher, make_room=space.make_room
        )
        self._topics = Topics(
            directory=directory,
            store=store,
            config=config,
            environment=environment,
            flusher=self._flusher,
            delayed_fetches=self._delayed_fetches,
            metrics=self.metrics,
            make_room=space.make_room,
        )
        self._growth = Growth(self._topics, store)
        facts = list(store.replay())
        self._configs = DynamicConfigs(config, store=store, topics=self._topics)
        self._configs.load(facts)
        self._topics.load(names, facts)
        self._producer_ids = ProducerIds(store.append, facts)
        self._groups = CoordinatorRuntime(
            self._topics,
            environment=environment,
            settings=self._configs.groups,
            counters=self.metrics,
            make_room=space.make_room,
        )
        return self._topics

    async def _listen(self, topics: Topics) -> None:
        assert self._directory is not None
        assert self._disk_space is not None
        assert self._metadata_log is not None
        assert self._growth is not None
        assert self._producer_ids is not None
        assert self._configs is not None
        assert self._groups is not None
        services = self._services = Services(
            configs=self._configs,
            environment=self._environment,
            cluster=Cluster(cluster_id=self._directory.cluster_id, node_id=self._config.node_id),
            directory=self._directory,
            disk_space=self._disk_space,
            metadata_log=self._metadata_log,
            topics=topics,
            growth=self._growth,
            producer_ids=self._producer_ids,
            groups=self._groups,
            first_unread=FirstUnread(),
            delayed_fetches=self._delayed_fetches,
            response_memory=self._responses,
            fetch_sessions=FetchSessions(
                self._environment, self.metrics, slots_max=self._config.fetch_session_slots_max
            ),
            metrics=self.metrics,
        )
        dispatcher = Dispatcher(services)
        config = self._configs.current
        commons = self._commons = Commons(
            config,
            dispatcher,
            metrics=self.metrics,
            requests=self._requests,
            responses=self._responses,
            limits=ConnectionLimits(config, descriptors_max=self._environment.descriptors_max()),
            log=dispatcher.log,
            receive_buffer=memoryview(bytearray(RECEIVE_BUFFER_SIZE)),
        )
        self._configs.on_change(commons.reconfigure)
        self._configs.on_change(self._disk_space.reconfigure)
        for address in config.listeners:
            listener = Listener(address, commons=commons, environment=self._environment)
            await listener.start()
            self._listeners.append(listener)

    def _new_cluster_id(self) -> str:
        """Sixteen random bytes in url-safe base64, as Kafka's tools make them."""
        return base64.urlsafe_b64encode(self._environment.random.randbytes(16)).decode().rstrip("=")

    # Parts of the stop

    async def _abandon_start(self) -> None:
        for listener in self._listeners:
            listener.stop_accepting()
            await listener.drain(deadline=0)
        if self._directory is not None:
            self._directory.release()

    def _close_data(self) -> None:
        assert self._directory is not None
        assert self._metadata_log is not None
        logs = [self._metadata_log, *(partition.log for topic in self.topics for partition in topic.partitions)]
        offline = [log.directory for log in logs if log.offline]
        try:
            self.topics.close()
            with_room(self.services.disk_space.make_room, self._metadata_log.close)
        except StorageError as error:
            # Without the marker the next start checks everything, which is right: something is not on the disk.
            logger.error("data directory not closed cleanly error=%s", error)
            self._directory.release()
            return
        if offline:
            # The marker would make the next start trust what this one has found damaged, or could not sync.
            logger.warning("data directory left without the clean-shutdown marker offline=%s", offline)
            self._directory.release()
            return
        self._close_directory(self._directory)

    def _close_directory(self, directory: LogDirectory) -> None:
        try:
            with_room(self.services.disk_space.make_room, directory.close)
        except StorageError as error:
            logger.error("data directory left without the clean-shutdown marker error=%s", error)
            directory.release()

    # The HTTP side

    async def _serve_http(self, address: HttpAddress) -> None:
        socket = self._environment.bind(address.host, address.port)
        self._http_address = Address(address.host, socket.getsockname()[1])
        self._http = HttpServer(socket, self)
        await self._http.start()

    def live(self) -> bool:
        """The loop turns, or nobody could ask; and the log on which everything hangs has not failed."""
        return self._state != "running" or self._metadata_log is None or not self._metadata_log.offline

    def not_ready_because(self) -> list[str]:
        """Why no client should come now; empty when ready."""
        return [] if self._state == "running" else [self._state]

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their content type."""
        # Not before the first scrape: it brings prometheus_client with it.
        from .exposition import render
        from .group_lag import Measurement
        from .turns import in_turns

        assert self._directory is not None
        self.metrics.request_memory_bytes = self._requests.used
        self.metrics.response_memory_bytes = self._responses.used
        self.metrics.waiting_for_memory = {"request": self._requests.waiting, "response": self._responses.waiting}
        facts = BrokerFacts(
            version=__version__,
            node_id=self._config.node_id,
            address=self.addresses[0] if self._listeners else "",
            started_ms=self._started_ms,
            data_dir=self._config.data_dir,
            disk_free_bytes=self._directory.free_bytes(),
            disk_total_bytes=self._directory.total_bytes(),
        )
        services = self.services
        lags = Measurement(
            services.groups.available(), services.topics, services.first_unread, now_ms=self._environment.now_ms()
        )
        groups = await in_turns(lags.run())
        return await in_turns(render(self.metrics, self.topics, facts, groups=groups, accept=accept))
