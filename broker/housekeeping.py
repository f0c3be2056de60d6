"""Housekeeping: what must be done every now and then, on timers of the loop.

Durable marks and checkpoints of logs that are being written to, producers and connections that have fallen silent, the
probe of the loop's own lag.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..storage.errors import DiskFull, StorageError
from ..storage.log import Log
from .checkpoints import ROUND_S, Checkpoints
from .dynamic_configs import DynamicConfigs
from .environment import Environment
from .metrics import LagProbe, Metrics
from .network.commons import Commons
from .network.listener import Listener
from .network.sweeper import Sweeper, round_s
from .topics.registry import Topics

logger = logging.getLogger(__name__)


class Housekeeping:
    """Starts with the broker, stops before it."""

    def __init__(
        self,
        *,
        configs: DynamicConfigs,
        environment: Environment,
        topics: Topics,
        metadata_log: Log,
        listeners: Sequence[Listener],
        commons: Commons,
    ) -> None:
        config = configs.current
        self._configs = configs
        self._environment = environment
        self._topics = topics
        self._metadata_log = metadata_log
        self._checkpoints = Checkpoints(topics)
        self._mark_interval_s = config.durable_mark_interval_ms / 1000
        self._sweep_interval_s = round_s(config)
        self._sweeper = Sweeper(listeners, commons, interval_s=self._sweep_interval_s)
        self._expiration_check_s = config.producer_id_expiration_check_interval_ms / 1000
        self._started, self._started_ms = environment.monotonic(), environment.now_ms()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._marking: asyncio.Future[list[StorageError]] | None = None
        self._lag_probe: LagProbe | None = None

    def start(self, metrics: Metrics) -> None:
        """Begin."""
        self._every(ROUND_S, self._checkpoints.make_round)
        self._every(self._mark_interval_s, self._write_marks)
        self._every(self._sweep_interval_s, self._sweep)
        self._every(self._expiration_check_s, self._expire_producers)
        self._lag_probe = LagProbe(metrics.event_loop_lag)
        self._lag_probe.start()

    def stop(self) -> None:
        """Begin nothing more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._lag_probe is not None:
            self._lag_probe.stop()

    async def drain(self) -> None:
        """Wait for what was begun: while the pool writes a log's mark the log must not be closed."""
        while self._marking is not None:
            await asyncio.wait([self._marking])

    def _every(self, interval_s: float, action: Callable[[], None]) -> None:
        def due() -> None:
            schedule()
            action()

        def schedule() -> None:
            self._timers[action.__name__] = asyncio.get_running_loop().call_later(interval_s, due)

        schedule()

    def _sweep(self) -> None:
        self._sweeper.sweep(now=asyncio.get_running_loop().time())

    def _expire_producers(self) -> None:
        """Nothing is looked at but what goes, and of each log the first that stays [I-6].

        A wall clock that is set forward makes nobody silent: no more time has passed than a steady clock tells.
        """
        passed_ms = int((self._environment.monotonic() - self._started) * 1000)
        now_ms = min(self._environment.now_ms(), self._started_ms + passed_ms)
        written_before_ms = now_ms - self._configs.current.producer_id_expiration_ms
        for topic in self._topics:
            for partition in topic.partitions:
                partition.log.producers.expire(written_before_ms=written_before_ms)

    def _write_marks(self) -> None:
        """One file write and sync a log, so in the pool; a log whose mark is up to date costs nothing."""
        every = [self._metadata_log, *(partition.log for topic in self._topics for partition in topic.partitions)]
        logs = [log for log in every if log.mark_is_behind and not log.offline]
        if not logs or self._marking is not None:
            return
        self._marking = self._environment.run_blocking(lambda: _write_all(logs))
        self._marking.add_done_callback(self._marked)

    def _marked(self, future: asyncio.Future[list[StorageError]]) -> None:
        self._marking = None
        if not future.cancelled():
            for error in future.result():
                if isinstance(error, DiskFull):
                    # The old mark still holds; recovery would only have more to check.
                    logger.warning("durable mark not written error=%s", error)
                else:
                    logger.error("log offline, durable mark not written error=%s", error)


def _write_all(logs: Sequence[Log]) -> list[StorageError]:
    errors: list[StorageError] = []
    for log in logs:
        try:
            log.write_mark()
        except StorageError as error:
            errors.append(error)
    return errors
