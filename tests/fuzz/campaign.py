"""`make fuzz`: so many inputs over the whole broker and over every decoder, several processes at a time.

A tenth of the inputs goes to whole brokers (`play.py`), which understand requests and keep state; the rest to the
decoders, guided by coverage (`guided.py`), most of it to those that strangers reach first. The first fault ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .targets import TARGETS

TESTS = Path(__file__).resolve().parents[1]
WORLDS_SHARE = 0.1
INPUTS_PER_PLAY_MAX = 1_000_000
INPUTS_PER_WORLD = 100_000
SEEDS_BETWEEN = 1_000
SHARES: Mapping[str, int] = {"kafka_request": 4, "tide_request": 3, "records": 2, "batch": 2}
"""Others have one."""
MEMORY_GROWTH_MAX = 64 << 20
EXECUTED = re.compile(r"^stat::number_of_executed_units: (\d+)$", re.MULTILINE)


class Failed(Exception):
    """A process found something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One process to be run."""

    name: str
    inputs: int
    arguments: tuple[str, ...]

    def run(self) -> int:
        """How many inputs it took. Raises Failed."""
        began = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", *self.arguments]
        done = subprocess.run(command, env=environment, cwd=TESTS, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
        taken = self._check_world(done.stdout) if self.name == "worlds" else int(EXECUTED.findall(done.stderr)[-1])
        sys.stdout.write(f"{self.name:<16}{taken:>12,} inputs in {time.monotonic() - began:,.0f} s\n")
        sys.stdout.flush()
        return taken

    def _check_world(self, output: str) -> int:
        told = json.loads(output)
        if told["memory_growth"] >= MEMORY_GROWTH_MAX or told["decoded"] < told["inputs"] / 3:
            raise Failed(f"{' '.join(self.arguments)}\n{output}")
        return int(told["inputs"])


def jobs_for(runs: int, seed: int) -> Iterator[Job]:
    """The processes by which so many inputs are tried; the long ones first."""
    in_worlds = max(1, int(runs * WORLDS_SHARE))
    left, shares = runs - in_worlds, sum(SHARES.get(target, 1) for target in TARGETS)
    for target in TARGETS:
        inputs = max(1, left * SHARES.get(target, 1) // shares)
        arguments = ("fuzz.guided", target, "--runs", str(inputs), "--seed", str(seed))
        yield Job(name=target, inputs=inputs, arguments=arguments)
    while in_worlds > 0:
        inputs = min(in_worlds, INPUTS_PER_PLAY_MAX)
        options = ("--seed", str(seed), "--inputs", str(inputs), "--world", str(INPUTS_PER_WORLD))
        yield Job(name="worlds", inputs=inputs, arguments=("fuzz.play", *options))
        in_worlds -= inputs
        seed += SEEDS_BETWEEN


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    jobs = sorted(jobs_for(options.runs, options.seed), key=lambda job: -job.inputs)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [pool.submit(job.run) for job in jobs]
        try:
            taken = sum(future.result() for future in running)
        except Failed as failure:
            pool.shutdown(wait=False, cancel_futures=True)
            sys.exit(f"fuzzing found something:\n{failure}")
    sys.stdout.write(f"{'together':<16}{taken:>12,} inputs, and nothing was hurt\n")


if __name__ == "__main__":
    main()
