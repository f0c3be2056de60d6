"""Plays worlds in a process of its own, so that its memory can be watched: `python -m fuzz.play --inputs 150000`.

Prints what was played, as one line of JSON. Memory grows by as much as the process ever had above what it had after
its first world, when everything is compiled and loaded.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import sys
from pathlib import Path

from .world import Tally, play_world

WORLD = 30_000
"""Inputs between a start and a restart."""
FIRST_WORLD = 5_000
PAGE = resource.getpagesize()


def memory_of(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def memory_peak() -> int:
    """The most this process ever had: what `getrusage` tells begins with what its parent had."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def play(seed: int, inputs: int, world: int) -> tuple[Tally, int]:
    """Worlds from consecutive seeds until so many inputs are played; the tally, and by how much memory grew."""
    tally = play_world(seed, min(FIRST_WORLD, inputs))
    gc.collect()
    at_first = memory_of(os.getpid())
    while tally.inputs < inputs:
        seed += 1
        tally.add(play_world(seed, min(world, inputs - tally.inputs)))
    return tally, memory_peak() - at_first


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first world; the next has the next")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--world", type=int, default=WORLD, help="inputs between a start and a restart")
    options = parser.parse_args()
    tally, growth = play(options.seed, options.inputs, options.world)
    sys.stdout.write(json.dumps({**vars(tally), "memory_growth": growth}) + "\n")


if __name__ == "__main__":
    main()
