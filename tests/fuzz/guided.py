"""Fuzzes one target, guided by coverage (atheris, libFuzzer): python -m fuzz.guided kafka_request --runs 1000000.

It starts from the corpus that is kept beside this file, from what an honest peer would say, and from what earlier runs
have found (.cache/fuzz). A crash is written to .cache/fuzz/crashes, to be minimised and made a test. `--keep` runs
nothing: it adds to the kept corpus what earlier runs have found and covers something new.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
CACHE = HERE.parents[1] / ".cache" / "fuzz"
SIZE_MAX = 1024
KEPT_SIZE_MAX = 512
TIMEOUT_S = 10
MEMORY_MAX_MIB = 1024


def main() -> None:
    """The command line. Does not return: libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options, own = parser.parse_known_args()

    # Not before: whoever only wants the help need not have it installed.
    import atheris

    with atheris.instrument_imports(include=["tidelog.protocol", "fuzz.targets"]):
        from .targets import TARGETS
    from .seeds import seeds_of

    _instrument_generated(atheris.instrument_func)

    found, kept, crashes = CACHE / options.target, CORPUS / options.target, CACHE / "crashes"
    for folder in (found, kept, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    arguments = [f"-artifact_prefix={crashes}/{options.target}-", f"-timeout={TIMEOUT_S}"]
    arguments += [f"-rss_limit_mb={MEMORY_MAX_MIB}", "-print_final_stats=1", "-verbosity=0"]
    if own:
        arguments = own
    elif options.keep:
        arguments += ["-set_cover_merge=1", f"-max_len={KEPT_SIZE_MAX}", str(kept), str(found)]
    else:
        for number, data in enumerate(seeds_of(options.target, options.seed)):
            (found / f"seed-{number}").write_bytes(data)
        arguments += [f"-runs={options.runs}", f"-seed={options.seed}", f"-max_len={SIZE_MAX}", str(found), str(kept)]
    # A merge calls itself, by its name and with arguments of its own.
    name = f"{sys.executable} -m fuzz.guided {options.target}"
    atheris.Setup([name, *arguments], TARGETS[options.target])
    atheris.Fuzz()


def _instrument_generated(instrument: object) -> None:
    """The codecs that are compiled at their first use are no imports: made now, and instrumented one by one."""
    from tidelog.protocol.codegen import decoder

    from .targets import SPOKEN

    assert callable(instrument)
    for api, version in SPOKEN:
        for message in (api.request, api.response):
            instrument(decoder(message, version, api.is_flexible(version)))


if __name__ == "__main__":
    main()
