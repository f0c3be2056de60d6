"""The kept corpus, and a few thousand mutations of what honest peers say, through every decoder that is fuzzed.

Guided fuzzing itself (`make fuzz`) takes hours and a package of its own; what it found worth keeping is here again.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.guided import CORPUS
from fuzz.mutations import Mutator
from fuzz.seeds import seeds_of
from fuzz.targets import TARGETS

IS_PROOF = os.environ.get("TIDELOG_PROOF") == "1"
SEED = int(os.environ.get("TIDELOG_SEED", "1"))
MUTATIONS = 200_000 if IS_PROOF else 3_000
FILES_MAX = 300
SIZE_MAX = 500 << 10

each_target = pytest.mark.parametrize("target", TARGETS)


def corpus_of(target: str) -> Iterator[Path]:
    return (path for path in sorted((CORPUS / target).iterdir()) if path.is_file())


@each_target
def test_what_is_kept_is_decoded_or_refused(target: str) -> None:
    inputs = list(corpus_of(target))
    assert inputs
    for path in inputs:
        TARGETS[target](path.read_bytes())


@each_target
def test_what_honest_peers_say_is_decoded(target: str) -> None:
    for seed in seeds_of(target):
        TARGETS[target](seed)


@each_target
def test_what_honest_peers_say_is_decoded_or_refused_with_bytes_changed(target: str) -> None:
    rng = random.Random(f"{target} {SEED}")
    mutator = Mutator(rng)
    seeds = [*seeds_of(target, SEED), *(path.read_bytes() for path in corpus_of(target))]
    for _ in range(MUTATIONS):
        data = bytearray(rng.choice(seeds))
        mutator.mutate(data)
        TARGETS[target](bytes(data))


def test_the_corpus_stays_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert len(files) <= FILES_MAX
    assert sum(path.stat().st_size for path in files) <= SIZE_MAX
    assert {path.parent.name for path in files} == set(TARGETS)
