"""See the package."""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .damage import Damage, damages, kind_of, one
from .examine import Outcome, examine
from .house import HouseSpecimen, a_house_specimen, examine_house
from .specimens import Specimen, Stop, specimens

WRONG_MAX: Final = 20
PADDED: Final = {"durable-mark": range(128, 4096)}
"""Bytes of a file that say nothing: harmed in the first specimens only."""
PADDED_ALSO: Final = len(Stop)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done."""

    seeds: int
    """Of the directories with one log."""
    house_step: int
    """Every so manieth damage to a broker's directory is examined."""


PLANS: Final = {"build": Plan(9, 100), "release": Plan(95, 1)}


@dataclass(frozen=True, slots=True)
class Case:
    """One damage to one directory."""

    specimen: Specimen | HouseSpecimen
    damage: Damage

    @property
    def name(self) -> str:
        """As `--only` takes it."""
        return f"{self.specimen.name}:{self.damage.path}:{self.damage.how}"

    def examine(self) -> Outcome:
        """What it comes to. Raises Wrong, or whatever a broker must not raise."""
        if isinstance(self.specimen, HouseSpecimen):
            return examine_house(self.specimen, self.damage)
        return examine(self.specimen, self.damage)


def cases(plan: Plan) -> Iterator[Case]:
    """All damages of a plan, in an order that is the same each time."""
    for number, specimen in enumerate(specimens(range(plan.seeds))):
        for path in specimen.files:
            for damage in damages(specimen, path):
                if number < PADDED_ALSO or not is_in_padding(damage):
                    yield Case(specimen, damage)
    for stop in (Stop.CLEAN, Stop.MARKED):
        house = a_house_specimen(stop)
        found = (damage for path in house.files for damage in damages(house, path))
        yield from (Case(house, damage) for number, damage in enumerate(found) if number % plan.house_step == 0)


def is_in_padding(damage: Damage) -> bool:
    """Whether only bytes are concerned that say nothing."""
    how, _, where = damage.how.partition(" ")
    if how not in ("flip", "cut"):
        return False
    at = int(where) // 8 if how == "flip" else int(where)
    return any(damage.path.endswith(end) and at in padding for end, padding in PADDED.items())


def named(plan: Plan, name: str) -> Case:
    """The one of that name."""
    specimen, path, how = name.split(":")
    if specimen.startswith("house "):
        house = a_house_specimen(Stop(specimen.removeprefix("house ")))
        return Case(house, one(house, path, how))
    seed = int(specimen.rpartition(" ")[2])
    found = next(one for one in specimens([seed]) if one.name == specimen)
    return Case(found, one(found, path, how))


def main() -> int:
    """See the package."""
    parser = argparse.ArgumentParser(prog="python -m crash.rot")
    parser.add_argument("--plan", choices=sorted(PLANS), default="build")
    parser.add_argument("--part", default="0/1", help="which part of how many")
    parser.add_argument("--step", type=int, default=1, help="every so manieth of them only")
    parser.add_argument("--only", help="one damage again: specimen:path:how")
    given = parser.parse_args()
    plan = PLANS[given.plan]
    if given.only:
        print(named(plan, given.only).examine())  # noqa: T201
        return 0
    logging.getLogger("tidelog").setLevel(logging.CRITICAL)
    part, parts = map(int, given.part.split("/"))
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for number, case in enumerate(cases(plan)):
        if number % (parts * given.step) != part * given.step:
            continue
        try:
            counts[f"{kind_of(case.damage.path)}: {case.examine()}"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is: only errors of the storage may come out of rot
            counts[f"{kind_of(case.damage.path)}: WRONG"] += 1
            wrong.append(f"{case.name}: {error!r}")
    found = {"examined": counts.total(), "counts": dict(sorted(counts.items())), "wrong": wrong[:WRONG_MAX]}
    print(json.dumps(found, indent=1))  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
