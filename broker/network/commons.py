"""What all connections of a broker have in common: settings, the dispatcher, budgets, limits, and a buffer."""

from ..config import BrokerConfig
from ..memory import RequestMemory, ResponseMemory
from ..metrics import Metrics
from .dispatcher import Dispatcher
from .limits import ConnectionLimits
from .sparing_log import SparingLog


class Commons:
    """One for all listeners."""

    __slots__ = ("config", "dispatcher", "limits", "log", "metrics", "receive_buffer", "requests", "responses")

    def __init__(
        self,
        config: BrokerConfig,
        dispatcher: Dispatcher,
        *,
        metrics: Metrics,
        requests: RequestMemory,
        responses: ResponseMemory,
        limits: ConnectionLimits,
        log: SparingLog,
        receive_buffer: memoryview,
    ) -> None:
        self.config = config
        self.dispatcher = dispatcher
        self.metrics = metrics
        self.requests = requests
        self.responses = responses
        self.limits = limits
        self.log = log
        self.receive_buffer = receive_buffer

    def reconfigure(self, config: BrokerConfig) -> None:
        """Other settings hold from here on; connections that are open already stay."""
        self.config = config
        self.limits.reconfigure(config)
