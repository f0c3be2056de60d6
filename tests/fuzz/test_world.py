"""Hundreds of thousands of inputs at a broker on the bench: none hurts it, and none hurts an honest client.

TIDELOG_SEED begins with another world, TIDELOG_PROOF=1 plays as many inputs as a release needs; `make fuzz` plays more.
A fault says its seed: `play_world(seed, inputs)` repeats it.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.honest import TOPIC, HonestClient
from fuzz.world import ROUND, Fault, Listening, Tally, World, play_world
from support.loop import SimLoop
from tidelog.protocol.apis import APIS

IS_PROOF = os.environ.get("TIDELOG_PROOF") == "1"
SEED = int(os.environ.get("TIDELOG_SEED", "1"))
INPUTS = 4_000_000 if IS_PROOF else 280_000
"""With what `test_sockets.py` sends to a real process: 300,000 in CI."""
PROCESSES = 2
SEEDS_BETWEEN = 1_000_000
MEMORY_GROWTH_MAX = 64 << 20
TESTS = Path(__file__).resolve().parents[1]


def test_no_bytes_hurt_the_broker_or_an_honest_client() -> None:
    """A14: no crash, no error in the log, everyone answered or sent away, no memory that stays, no record lost."""
    each = INPUTS // PROCESSES
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "0"}
    players = [
        subprocess.Popen(
            [sys.executable, "-m", "fuzz.play", "--seed", str(SEED + number * SEEDS_BETWEEN), "--inputs", str(each)],
            env=environment,
            cwd=TESTS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for player in players:
        output, errors = player.communicate()
        assert player.returncode == 0, errors
        told = json.loads(output)
        assert told["inputs"] >= each
        assert told["decoded"] >= told["inputs"] / 3, "too few inputs are understood to say much"
        assert told["answered"] >= told["inputs"] / 3
        assert told["waiting"] <= told["inputs"] / 1_000
        assert told["honest_records"] >= told["inputs"] / 100
        assert told["memory_growth"] < MEMORY_GROWTH_MAX
        assert {api.name for api in APIS.values()} == {name for name, count in told["well_answered"].items() if count}


def test_the_same_seed_plays_the_same_world() -> None:
    def told(tally: Tally) -> dict[str, object]:
        return {name: value for name, value in vars(tally).items() if not name.startswith("slowest")}

    assert told(play_world(SEED, ROUND)) == told(play_world(SEED, ROUND))


# The net is not full of holes: what must not happen is noticed when it does


class Planted(World):
    """A world in which something bad is done in its first round."""

    async def _end_round(self) -> None:
        self.harm()
        await super()._end_round()

    def harm(self) -> None:
        """What is planted."""


def play(planted: type[World]) -> None:
    loop = SimLoop(SEED)
    with Listening() as listening:
        try:
            loop.run_until_complete(planted(SEED, loop, listening).play(2 * ROUND))
        finally:
            loop.close()


def test_an_error_in_the_log_is_noticed() -> None:
    class Logs(Planted):
        def harm(self) -> None:
            logging.getLogger("tidelog.broker").error("this is bad")

    with pytest.raises(Fault, match="this is bad"):
        play(Logs)


def test_a_strangers_words_in_the_log_are_noticed() -> None:
    class Quotes(Planted):
        def harm(self) -> None:
            logging.getLogger("tidelog.broker").warning("said %s", "\x1b[31mred")

    with pytest.raises(Fault, match="words in the log"):
        play(Quotes)


def test_an_exception_that_nobody_catches_is_noticed() -> None:
    class Raises(Planted):
        def harm(self) -> None:
            self._loop.call_soon(lambda: 1 // 0)

    with pytest.raises(ExceptionGroup, match="something failed"):
        play(Raises)


def test_somebody_else_in_the_honest_clients_topic_is_noticed() -> None:
    class Writes(Planted):
        def harm(self) -> None:
            intruder = HonestClient(self._doorstep.enter)
            intruder.send_record()

    with pytest.raises(AssertionError, match="somebody else wrote here"):
        play(Writes)


def test_a_topic_that_is_gone_is_noticed() -> None:
    class Deletes(Planted):
        def harm(self) -> None:
            topic = self._server.topics.by_name(TOPIC)
            assert topic is not None
            self._server.topics.delete(topic, lambda outcome: None)

    with pytest.raises(AssertionError, match="UNKNOWN_TOPIC_OR_PARTITION"):
        play(Deletes)


def test_an_input_that_is_left_without_an_answer_is_noticed() -> None:
    class Ignores(Planted):
        def harm(self) -> None:
            # The broker forgets to look: what it is told arrives nowhere.
            enter = self._doorstep.enter

            def enter_unseen() -> object:
                visitor = enter()
                visitor.say = visitor.end = lambda *_: None  # type: ignore[assignment]
                return visitor

            self._doorstep.enter = enter_unseen  # type: ignore[assignment]

    with pytest.raises(Fault, match="one of these"):
        play(Ignores)
