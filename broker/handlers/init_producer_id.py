"""InitProducerId v0-5: a producer id and its epoch, under which a producer numbers its batches (KIP-98, KIP-360).

Without a transactional id the answer is always a fresh id with epoch 0, also when the producer names the id that it
has: that is what Kafka answers (TransactionCoordinator.handleInitProducerId), and an idempotent producer raises its
epoch by itself.
"""

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from ..request import Pending, RequestContext
from ..services import Services

NONE = -1
"""The id and the epoch of a producer that has none."""


def init_producer_id(
    context: RequestContext, services: Services, request: InitProducerIdRequest
) -> Pending[InitProducerIdResponse] | InitProducerIdResponse:
    """Hand out an id; wait for the metadata log if a block has to become durable first."""
    del context
    if (request.producer_id == NONE) != (request.producer_epoch == NONE) or request.transactional_id == "":
        return InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_epoch=NONE)
    if request.transactional_id is not None:
        # There are no transactions yet. Of all codes, this is the one that every client takes for final: to others
        # librdkafka, for one, comes back until its time is over.
        return InitProducerIdResponse(error_code=ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, producer_epoch=NONE)
    pending: Pending[InitProducerIdResponse] = Pending()

    def answer(outcome: int | RequestRefused) -> None:
        if isinstance(outcome, RequestRefused):
            pending(InitProducerIdResponse(error_code=outcome.code, producer_epoch=NONE))
        else:
            pending(InitProducerIdResponse(producer_id=outcome))

    services.producer_ids.request(answer)
    return pending if pending.response is None else pending.response
