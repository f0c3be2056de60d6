"""Services: all that a handler may reach for."""

from dataclasses import dataclass

from .config import BrokerConfig
from .environment import Environment
from .metadata.cluster import Cluster
from .metrics import Metrics
from .topics.delayed_fetch import DelayedFetches
from .topics.registry import Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The broker, as handlers see it."""

    config: BrokerConfig
    environment: Environment
    cluster: Cluster
    topics: Topics
    delayed_fetches: DelayedFetches
    metrics: Metrics
