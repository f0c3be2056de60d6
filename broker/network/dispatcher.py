"""Dispatcher: one frame in, one answer out, now or later: decode, handle, encode, measure.

The only place that catches `Exception`: a defect in a handler costs its connection, with one traceback, and nobody
else.
"""

import logging
from collections.abc import Callable

from ...protocol.apis import ApiKey
from ...protocol.errors import ErrorCode, RequestRefused, UnsupportedVersion
from ...protocol.messages.api_versions import ApiVersionsResponse
from ...protocol.messages.fetch import FetchResponse
from ...protocol.primitives import Buffer
from ...protocol.wire import RequestHeader, Wire
from ..handlers import api_versions
from ..handlers.table import HANDLERS
from ..request import NO_RESPONSE, NoResponse, Pending, RequestContext, Requester
from ..services import Services
from .sparing_log import SparingLog

logger = logging.getLogger(__name__)

DECODED_RATIO = 4
"""Of a request's objects to its bytes, about. A batch of records stays bytes."""
HANDLER_FAILED = "handler failed api=%s peer=%s"
ANSWER_FAILED = "answer cannot be written api=%s peer=%s"


class Exchange:
    """A request that has been read, and its answer as it will go over the wire."""

    __slots__ = ("_wire", "buffers", "header", "memory", "pending", "requester", "size", "started")

    def __init__(self, header: RequestHeader, wire: Wire, requester: Requester, started: float) -> None:
        self.header = header
        self.requester = requester
        self.started = started
        self.pending: Pending[object] | None = None
        """What it waits for; None once it is answered."""
        self.buffers: list[Buffer] | None = None
        """The answer; None while it waits."""
        self.size = 0
        """Bytes of the answer; 0 while it waits."""
        self.memory = 0
        """What the request holds while it waits, about."""
        self._wire = wire

    def answer(self, response: object) -> None:
        """Encode the answer."""
        self.pending = None
        self._take(self._wire.encode_response(self.header, response))

    def refuse(self, error: RequestRefused) -> bool:
        """Encode a refusal of the whole request; false where the wire has no words for one."""
        self.pending = None
        self._take(self._wire.encode_refusal(self.header, error.code, str(error)))
        return self.buffers is not None

    def answer_nothing(self) -> None:
        """Be answered without a byte."""
        self.pending = None
        self.buffers = []

    def _take(self, buffers: list[Buffer] | None) -> None:
        self.buffers = buffers
        self.size = sum(map(len, buffers or ()))


class Dispatcher:
    """Takes frames from connections to handlers and answers back."""

    def __init__(self, services: Services) -> None:
        self.now = services.environment.monotonic
        """The clock by which requests are timed."""
        self.log = SparingLog(self.now)
        self._services = services

    def dispatch(
        self, frame: memoryview, wire: Wire, requester: Requester, on_answer: Callable[[Exchange], None]
    ) -> Exchange | None:
        """Handle one request. None when it has no answer.

        `on_answer` is called when an answer that had to wait is there. Raises ProtocolError for bytes that mean
        nothing.
        """
        services = self._services
        started = services.environment.monotonic()
        try:
            request = wire.decode_request(frame)
        except UnsupportedVersion as error:
            return self._unsupported(error, wire, requester, started)
        header = request.header
        exchange = Exchange(header, wire, requester, started)
        exchange.memory = len(frame) if header.api.key is ApiKey.PRODUCE else DECODED_RATIO * len(frame)
        services.metrics.api(header.api.key).request_bytes += len(frame)
        if header.api.key is ApiKey.FETCH and services.response_memory.is_exhausted:
            self._put_off(exchange, request.body, on_answer)
        else:
            self._handle(exchange, request.body, on_answer)
        return exchange if exchange.pending is not None or exchange.buffers is not None else None

    def _handle(self, exchange: Exchange, request: object, on_answer: Callable[[Exchange], None]) -> None:
        """Leaves an answer, or a `Pending`, or nothing in the exchange."""
        services, header, requester = self._services, exchange.header, exchange.requester
        try:
            result = HANDLERS[header.api.key](RequestContext(header, requester), services, request)
        except RequestRefused as error:
            logger.debug("request refused api=%s peer=%s error=%s", header.api.name, requester.peer, error)
            if not exchange.refuse(error):
                requester.close(f"{header.api.name} refused: {error.code.name}")
            self._measure(exchange, int(error.code))
            return
        except Exception:  # noqa: BLE001 - it is logged
            self._complain(exchange, HANDLER_FAILED)
            return
        if isinstance(result, Pending):
            if result.response is None:
                exchange.pending = result
                services.metrics.inflight_requests += 1
                result.attach(
                    lambda response: self._answered(exchange, response, on_answer),
                    lambda: self._failed(exchange, on_answer),
                )
                return
            result = result.response
        if isinstance(result, NoResponse):
            self._measure(exchange, 0)
            return
        self._answer(exchange, result)

    def _put_off(self, exchange: Exchange, request: object, on_answer: Callable[[Exchange], None]) -> None:
        """Have a fetch wait until there is memory for its answer; its connection is held meanwhile.

        If it is hurried it is answered with nothing: who asks that it be, its memory or its connection, can spare no
        memory either. A reader that is still there asks again, in a new session (KIP-227).
        """

        def begin() -> None:
            waiting.abandon()
            exchange.pending = None
            metrics.inflight_requests -= 1
            self._handle(exchange, request, on_answer)
            if exchange.pending is None:
                if exchange.buffers is None:
                    exchange.answer_nothing()
                on_answer(exchange)

        metrics = self._services.metrics
        cancel = self._services.response_memory.when_free(begin)
        assert cancel is not None, "an answer is put off only while there is no memory for it"
        forget: Callable[[], None] = cancel

        def hurry() -> None:
            forget()
            waiting(FetchResponse())

        waiting: Pending[object] = Pending(on_abandon=forget, on_hurry=hurry)
        exchange.pending = waiting
        metrics.inflight_requests += 1
        waiting.attach(lambda response: self._answered(exchange, response, on_answer))

    def abandon(self, exchange: Exchange) -> None:
        """The connection died before the answer."""
        if exchange.pending is not None:
            self._services.metrics.inflight_requests -= 1
            exchange.pending.abandon()
            exchange.pending = None

    def end_of_read(self) -> None:
        """Every frame of this socket read has been handled: write what they staged."""
        self._services.topics.write_out()

    def _answered(self, exchange: Exchange, response: object, on_answer: Callable[[Exchange], None]) -> None:
        self._services.metrics.inflight_requests -= 1
        if response is NO_RESPONSE:
            exchange.answer_nothing()
            self._measure(exchange, 0)
        else:
            self._answer(exchange, response)
        on_answer(exchange)

    def _failed(self, exchange: Exchange, on_answer: Callable[[Exchange], None]) -> None:
        self._services.metrics.inflight_requests -= 1
        exchange.answer_nothing()
        self._complain(exchange, HANDLER_FAILED)
        on_answer(exchange)

    def _complain(self, exchange: Exchange, line: str) -> None:
        """Of a defect, from within an `except`; it costs the connection."""
        self.log.say(logger, logging.ERROR, line, exchange.header.api.name, exchange.requester.peer, traceback=True)
        exchange.requester.close("internal error")
        self._measure(exchange, int(ErrorCode.UNKNOWN_SERVER_ERROR))

    def _answer(self, exchange: Exchange, response: object) -> None:
        try:
            exchange.answer(response)
        except Exception:  # noqa: BLE001 - it is logged
            # Whoever completes a `Pending` completes others' too: they must not pay for an answer that has no bytes.
            exchange.answer_nothing()
            self._complain(exchange, ANSWER_FAILED)
            return
        self._measure(exchange, int(getattr(response, "error_code", ErrorCode.NONE)))

    def _measure(self, exchange: Exchange, error: int) -> None:
        measures = self._services.metrics.api(exchange.header.api.key)
        measures.requests[error] = measures.requests.get(error, 0) + 1
        measures.duration.observe(self._services.environment.monotonic() - exchange.started)
        measures.response_bytes += exchange.size

    def _unsupported(self, error: UnsupportedVersion, wire: Wire, requester: Requester, started: float) -> Exchange:
        """KIP-511: ApiVersions of an unknown version is answered in version 0 with what is supported; any other
        raises."""
        asked = error.header
        if not isinstance(asked, RequestHeader) or asked.api.key is not ApiKey.API_VERSIONS:
            raise error
        header = RequestHeader(api=asked.api, version=0, correlation_id=asked.correlation_id)
        exchange = Exchange(header, wire, requester, started)
        response: ApiVersionsResponse = api_versions.unsupported()
        self._answer(exchange, response)
        return exchange
