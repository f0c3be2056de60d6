"""Services: all that a handler may reach for."""

from dataclasses import dataclass

from ..storage.log import Log
from ..storage.log_directory import LogDirectory
from .config import BrokerConfig
from .coordinator.producer_ids import ProducerIds
from .coordinator.runtime import CoordinatorRuntime
from .disk_space import DiskSpace
from .dynamic_configs import DynamicConfigs
from .environment import Environment
from .first_unread import FirstUnread
from .memory import ResponseMemory
from .metadata.cluster import Cluster
from .metrics import Metrics
from .topics.delayed_fetch import DelayedFetches
from .topics.fetch_sessions import FetchSessions
from .topics.growth import Growth
from .topics.registry import Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The broker, as handlers see it."""

    configs: DynamicConfigs
    environment: Environment
    cluster: Cluster
    directory: LogDirectory
    disk_space: DiskSpace
    metadata_log: Log
    """The log of the cluster's facts, to be looked at only."""
    topics: Topics
    growth: Growth
    producer_ids: ProducerIds
    groups: CoordinatorRuntime
    first_unread: FirstUnread
    delayed_fetches: DelayedFetches
    response_memory: ResponseMemory
    fetch_sessions: FetchSessions
    metrics: Metrics

    @property
    def config(self) -> BrokerConfig:
        """The broker's settings as of now; some can change, so nobody keeps them."""
        return self.configs.current
