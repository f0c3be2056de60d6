"""What all connections of a broker have in common: settings, the dispatcher, budgets, limits, and a buffer."""

from ..config import BrokerConfig
from ..memory import RequestMemory, ResponseMemory
from ..metrics import Metrics
from .dispatcher import Dispatcher
from .limits import ConnectionLimits
from .sparing_log import SparingLog

SLICE_S = 0.002
SLICE_S_MIN = 0.0001
"""How long a connection may handle requests before the others have their turn: the whole of it for one that has more
to do than that; parts of it when many have, but no smaller ones."""


class Commons:
    """One for all listeners."""

    __slots__ = ("busy", "config", "dispatcher", "limits", "log", "metrics", "receive_buffer", "requests", "responses")

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
        self.busy = 0
        """How many connections have requests left that they had no time for."""

    @property
    def slice_s(self) -> float:
        """For how long a connection may handle requests before it lets the others have their turn."""
        return max(SLICE_S_MIN, SLICE_S / max(1, self.busy))

    def reconfigure(self, config: BrokerConfig) -> None:
        """Other settings hold from here on; connections that are open already stay."""
        self.config = config
        self.limits.reconfigure(config)
