"""InitProducerId: a fresh id for each producer, and nothing else before there are transactions [I-9]."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from support.bench import Bench, on_the_bench
from support.house import House, a_house
from tidelog.broker.coordinator.producer_ids import BLOCK_SIZE
from tidelog.broker.request import Pending
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

FRESH = InitProducerIdRequest(transactional_id=None)


async def answer(house: House, request: InitProducerIdRequest = FRESH, version: int = 5) -> InitProducerIdResponse:
    response = await house.ask(request, version)
    assert isinstance(response, InitProducerIdResponse)
    return response


@on_the_bench
async def test_every_producer_gets_an_id_of_its_own_and_epoch_0(bench: Bench) -> None:
    house = await bench.serve()
    answers = [await answer(house, FRESH, version) for version in range(6)]
    assert [response.error_code for response in answers] == [ErrorCode.NONE] * 6
    assert [response.producer_id for response in answers] == list(range(6))
    assert [response.producer_epoch for response in answers] == [0] * 6
    await house.server.stop()


@on_the_bench
async def test_the_first_one_waits_for_the_block_and_the_others_do_not(bench: Bench) -> None:
    house = await bench.serve()
    first = house.call(FRESH)
    assert isinstance(first, Pending)
    answered = asyncio.Event()
    first.attach(lambda _: answered.set())
    assert not answered.is_set()
    await answered.wait()
    assert first.response == InitProducerIdResponse(producer_id=0)
    assert isinstance(house.call(FRESH), InitProducerIdResponse)
    await house.server.stop()


async def test_no_id_is_handed_out_again_after_a_restart(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        async with a_house(tmp_path / "data") as house:
            seen += [(await answer(house)).producer_id for _ in range(3)]
    assert seen == [0, 1, 2, BLOCK_SIZE, BLOCK_SIZE + 1, BLOCK_SIZE + 2, 2 * BLOCK_SIZE, 2 * BLOCK_SIZE + 1, 2002]


@on_the_bench
async def test_a_producer_that_names_its_id_gets_another_one_all_the_same(bench: Bench) -> None:
    """As from Kafka: without a transactional id the named one is ignored."""
    house = await bench.serve()
    first = await answer(house)
    again = await answer(house, replace(FRESH, producer_id=first.producer_id, producer_epoch=first.producer_epoch))
    assert (again.error_code, again.producer_epoch) == (ErrorCode.NONE, 0)
    assert again.producer_id != first.producer_id
    await house.server.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        InitProducerIdRequest(transactional_id=""),
        InitProducerIdRequest(transactional_id=None, producer_id=5),
        InitProducerIdRequest(transactional_id=None, producer_epoch=5),
    ],
)
@on_the_bench
async def test_what_makes_no_sense_is_refused(bench: Bench, wrong: InitProducerIdRequest) -> None:
    house = await bench.serve()
    response = await answer(house, wrong)
    assert (response.error_code, response.producer_id) == (ErrorCode.INVALID_REQUEST, -1)
    await house.server.stop()


@on_the_bench
async def test_a_transactional_id_is_refused_for_good(bench: Bench) -> None:
    house = await bench.serve()
    response = await answer(house, InitProducerIdRequest(transactional_id="billing", transaction_timeout_ms=60_000))
    code = ErrorCode.of(response.error_code)
    assert (code, response.producer_id) == (ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1)
    assert not code.retriable
    await house.server.stop()


@on_the_bench
async def test_a_disk_that_cannot_be_written_is_a_reason_to_come_again(bench: Bench) -> None:
    house = await bench.serve()
    bench.disk.full(0)
    response = await answer(house)
    assert response.error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    bench.disk.full(None)
    assert (await answer(house)).producer_id == 0
    await house.server.stop()


@on_the_bench
async def test_who_leaves_while_waiting_costs_an_id_and_nothing_else(bench: Bench) -> None:
    house = await bench.serve()
    gone = house.call(FRESH)
    assert isinstance(gone, Pending)
    gone.abandon()
    assert (await answer(house)).producer_id == 1
    await asyncio.sleep(0)
    await house.server.stop()
