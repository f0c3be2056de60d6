"""Where guided fuzzing begins: for each target what it would get from an honest peer, small and of every kind."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping

from support.builders import a_batch
from tidelog.protocol.batch import HEADER_SIZE, read_header
from tidelog.protocol.compression import Codec, compress
from tidelog.protocol.wire import RequestHeader, Wire

from .batches import Batches
from .generator import Palette, Requests
from .inputs import STRANGERS
from .targets import KAFKA, SPOKEN, TIDE

TEXT = b"".join(b"record %d of some, " % number for number in range(60))
ROUNDS = 3
"""Messages of each API and version."""


def seeds_of(target: str, seed: object = 0) -> list[bytes]:
    """The seeds of a target."""
    return list(_SEEDS[target](random.Random(f"{target} {seed}")))


def _frames(rng: random.Random) -> Iterator[bytes]:
    for frame in (*_requests(KAFKA, rng), *STRANGERS):
        yield bytes((rng.randrange(256),)) + struct.pack(">i", len(frame)) + frame


def _requests(wire: Wire, rng: random.Random) -> Iterator[bytes]:
    requests = Requests(rng, Palette())
    for header in _headers(wire, rng):
        yield b"".join(wire.encode_request(header, requests.of(header.api.request, header.version)))[4:]


def _responses(wire: Wire, rng: random.Random) -> Iterator[bytes]:
    requests = Requests(rng, Palette())
    for header in _headers(wire, rng):
        frame = b"".join(wire.encode_response(header, requests.of(header.api.response, header.version)))[4:]
        yield struct.pack(">H", SPOKEN.index((header.api, header.version))) + frame


def _headers(wire: Wire, rng: random.Random) -> Iterator[RequestHeader]:
    for api, version in SPOKEN:
        if wire is TIDE and version != api.versions.max:
            continue
        for _ in range(ROUNDS):
            yield RequestHeader(
                api=api, version=version, correlation_id=rng.getrandbits(31), client_id=rng.choice((None, "fuzzer"))
            )


def _batches(rng: random.Random) -> Iterator[bytes]:
    maker = Batches(rng, ())
    for _ in range(100):
        made = maker.any()
        if made:
            yield bytes(made)


def _records(rng: random.Random) -> Iterator[bytes]:
    for codec in Codec:
        for count in (1, 2, 5):
            headers = (("h", b"1"), ("", None)) if rng.random() < 0.5 else ()
            batch = a_batch([b"v" * 5, None, b"", b"w" * 70, b"x"][:count], key=b"k", headers=headers, codec=codec)
            header = read_header(batch)
            yield struct.pack(">Hh", header.record_count, header.attributes) + batch[HEADER_SIZE:]


def _compressed(codec: Codec) -> Callable[[random.Random], Iterator[bytes]]:
    def make(rng: random.Random) -> Iterator[bytes]:
        for text in (b"", b"x", bytes(300), TEXT, rng.randbytes(200), TEXT[:100] + rng.randbytes(100)):
            frame = compress(codec, text)
            yield frame
            yield frame + frame

    return make


_SEEDS: Mapping[str, Callable[[random.Random], Iterator[bytes]]] = {
    "frames": _frames,
    "kafka_request": lambda rng: _requests(KAFKA, rng),
    "kafka_response": lambda rng: _responses(KAFKA, rng),
    "tide_request": lambda rng: _requests(TIDE, rng),
    "tide_response": lambda rng: _responses(TIDE, rng),
    "batch": _batches,
    "records": _records,
    **{codec.name.lower(): _compressed(codec) for codec in Codec if codec is not Codec.NONE},
}
