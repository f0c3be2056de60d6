"""Inputs: what one stranger says to the broker, from a flawless request to noise.

A third and more of them decode as a request. Of the others most were one, before a byte was changed: random noise dies
in the first line of a parser and teaches nobody anything.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgpack

from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ProtocolError
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.tide_wire import PREFACE, TideWire
from tidelog.protocol.wire import RequestHeader, Wire

from .generator import Palette, Requests
from .mutations import Mutator, unknown_tags

KAFKA, TIDE = KafkaWire(), TideWire()
MEMORY = 256
"""So many requests are kept to be mutated again."""
FRAME_SIZE_MAX = 100 << 20
CLIENT_ID_AT = 8
PARTITIONS_MAX = 16
MAKERS_OF_PARTITIONS = tuple(struct.pack(">h", key) for key in (ApiKey.CREATE_TOPICS, ApiKey.CREATE_PARTITIONS))
WISHES = ("num_partitions", "count")
STRANGERS = (
    b"GET / HTTP/1.1\r\nHost: localhost:9092\r\nUser-Agent: curl/8\r\n\r\n",
    b"POST /topics HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"AMQP\x00\x00\x09\x01",
    b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04fuzz",
    bytes.fromhex("16030100c8010000c40303") + bytes(range(189)),
    bytes.fromhex("160301ffff01"),
    b"TIDE\x02\x00\x00\x00\x10",
    b"TIDE\x00",
    b"TIDX\x01",
    b"\x00" * 64,
    b"\xff" * 64,
    b"\r\n\r\n",
    b"INFO\r\n",
)
WEIRD: Sequence[object] = (
    None,
    True,
    0,
    -1,
    2**64 - 1,
    -(2**63),
    1.5,
    float("nan"),
    "",
    "x" * 300,
    b"",
    b"\xff" * 16,
    [],
    [0, 2**32],
    [-1, 5],
    [[[[]]]],
    {},
    {"name": None},
    msgpack.ExtType(5, b"ext"),
    msgpack.Timestamp(2**33, 999_999_999),
)
"""What a field of the tide wire does not expect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The bytes of one connection."""

    kind: str
    data: bytes
    cuts: tuple[int, ...] = ()
    """Where they are cut into reads."""
    asked: tuple[Wire, RequestHeader] | None = None
    """Of a flawless request: how its answer is to be read."""
    request: object = None
    """The flawless request."""

    def pieces(self) -> list[bytes]:
        """The reads."""
        edges = (0, *self.cuts, len(self.data))
        return [self.data[start:end] for start, end in itertools.pairwise(edges)]


class Inputs:
    """An endless row of inputs from one seed."""

    def __init__(self, seed: object, palette: Palette) -> None:
        self._rng = rng = random.Random(str(seed))
        self._requests = Requests(rng, palette)
        self._mutator = Mutator(rng)
        self._kafka: list[bytes] = []
        """Frames without their length."""
        self._tide: list[bytes] = []
        makers: Mapping[str, tuple[int, Callable[[], bytes]]] = {
            "kafka mutated": (28, self._kafka_mutated),
            "kafka with unknown tags": (3, self._kafka_with_unknown_tags),
            "kafka with another key or version": (3, self._kafka_readdressed),
            "tide mutated": (4, self._tide_mutated),
            "tide with a weird value": (5, self._tide_with_a_weird_value),
            "pipelined": (6, self._pipelined),
            "half": (4, self._half),
            "claimed length": (2, self._claimed_length),
            "noise": (3, self._noise),
            "stranger": (2, self._stranger),
        }
        self._kinds = ("kafka", "tide", *makers)
        self._weights = (34, 6, *(weight for weight, _ in makers.values()))
        self._makers = {kind: make for kind, (_, make) in makers.items()}
        for _ in range(8):
            self._flawless(KAFKA)
            self._flawless(TIDE)

    def next(self) -> Input:
        """The next one."""
        [kind] = self._rng.choices(self._kinds, self._weights)
        if kind == "kafka":
            data, header, request = self._flawless(KAFKA)
            return Input(kind=kind, data=data, cuts=self._cuts(data), asked=(KAFKA, header), request=request)
        if kind == "tide":
            data, header, request = self._flawless(TIDE)
            data = PREFACE + data
            return Input(kind=kind, data=data, cuts=self._cuts(data), asked=(TIDE, header), request=request)
        data = self._makers[kind]()
        return Input(kind=kind, data=data, cuts=self._cuts(data))

    def _cuts(self, data: bytes) -> tuple[int, ...]:
        rng = self._rng
        if rng.random() < 0.85 or len(data) < 2:
            return ()
        return tuple(sorted(rng.randrange(len(data)) for _ in range(rng.randint(1, 4))))

    # Requests as they should be

    def _flawless(self, wire: Wire) -> tuple[bytes, RequestHeader, object]:
        rng = self._rng
        api, version, request = self._requests.any(is_kafkas=wire is KAFKA)
        header = RequestHeader(
            api=api,
            version=version if wire is KAFKA else api.versions.max,
            correlation_id=rng.getrandbits(31),
            client_id=rng.choice(("fuzzer", "fuzzer", "", None, "ünïcödé", "x" * 200)),
        )
        frame = b"".join(wire.encode_request(header, request))
        known = self._kafka if wire is KAFKA else self._tide
        if len(known) < MEMORY:
            known.append(frame[4:])
        else:
            known[rng.randrange(MEMORY)] = frame[4:]
        return frame, header, request

    # Requests with a fault

    def _broken(self, wire: Wire, known: list[bytes]) -> bytearray:
        """A request that is none any more, or another one."""
        rng = self._rng
        while True:
            body = bytearray(rng.choice(known))
            if rng.random() < 0.1:
                body = self._mutator.splice(body, rng.choice(known))
            else:
                self._mutator.mutate(body)
            if not wishes_for_many_partitions(wire, body):
                return body

    def _framed(self, body: bytes | bytearray) -> bytes:
        """Behind its length, which now and then is another."""
        rng = self._rng
        size = len(body)
        if rng.random() < 0.06:
            size = max(0, size + rng.choice((-4, -1, 1, 4, 100)))
        return struct.pack(">i", size) + body

    def _kafka_mutated(self) -> bytes:
        return self._framed(self._broken(KAFKA, self._kafka))

    def _kafka_with_unknown_tags(self) -> bytes:
        """Behind the header, behind the body, or both. In versions without tags they are bytes too many."""
        rng = self._rng
        body = rng.choice(self._kafka)
        client_id_size = max(0, struct.unpack_from(">h", body, CLIENT_ID_AT)[0])
        tags_at = CLIENT_ID_AT + 2 + client_id_size
        if rng.random() < 0.7 and body[tags_at : tags_at + 1] == b"\0":
            body = body[:tags_at] + unknown_tags(rng) + body[tags_at + 1 :]
        if rng.random() < 0.7 and body.endswith(b"\0"):
            body = body[:-1] + unknown_tags(rng)
        return self._framed(body)

    def _kafka_readdressed(self) -> bytes:
        rng = self._rng
        body = bytearray(rng.choice(self._kafka))
        key, version = struct.unpack_from(">hh", body)
        if rng.random() < 0.5:
            version += rng.choice((-1, 1, 2, -2, 100, -1 - version))
        else:
            key = rng.choice((key + 1, key - 1, rng.randint(0, 95), -1, 32767, 18))
        struct.pack_into(">hh", body, 0, key, max(-32768, min(version, 32767)))
        return self._framed(body[:20] if wishes_for_many_partitions(KAFKA, body) else body)

    def _tide_mutated(self) -> bytes:
        return PREFACE + self._framed(self._broken(TIDE, self._tide))

    def _tide_with_a_weird_value(self) -> bytes:
        rng = self._rng
        body = rng.choice(self._tide)
        [size] = struct.unpack_from(">I", body)
        header = msgpack.unpackb(body[4 : 4 + size])
        draw = rng.random()
        if draw < 0.1:
            nested: object = 0
            for _ in range(rng.choice((5, 100, 500))):
                nested = [nested] if rng.random() < 0.5 else {"topics": nested}
            header[2] = nested
        elif draw < 0.3:
            header[rng.randrange(len(header))] = rng.choice(WEIRD)
        else:
            self._put_something_weird(header[2])
        packed = msgpack.packb(header)
        return PREFACE + self._framed(struct.pack(">I", len(packed)) + packed + body[4 + size :])

    def _put_something_weird(self, body: object) -> None:
        rng = self._rng
        while isinstance(body, dict) and body:
            key = rng.choice(list(body))
            value = body[key]
            inner = value[0] if isinstance(value, list) and value else value
            if isinstance(inner, dict) and inner and rng.random() < 0.7:
                body = inner
                continue
            if rng.random() < 0.2:
                del body[key]
            else:
                body[rng.choice((key, key, key, 5, "unknown"))] = rng.choice(WEIRD)
            return

    # Several things in a row, and things that are none

    def _pipelined(self) -> bytes:
        """Requests in a row, and garbage somewhere among them."""
        rng = self._rng
        is_kafka = rng.random() < 0.7
        known = self._kafka if is_kafka else self._tide
        frames = [struct.pack(">i", len(body)) + body for body in rng.choices(known, k=rng.randint(2, 6))]
        if rng.random() < 0.7:
            broken = self._broken(KAFKA if is_kafka else TIDE, known)
            frames.insert(rng.randint(0, len(frames)), self._framed(broken))
        if rng.random() < 0.3:
            frames.append(rng.randbytes(rng.randint(1, 30)))
        return (b"" if is_kafka else PREFACE) + b"".join(frames)

    def _half(self) -> bytes:
        rng = self._rng
        is_kafka = rng.random() < 0.7
        body = rng.choice(self._kafka if is_kafka else self._tide)
        data = (b"" if is_kafka else PREFACE) + struct.pack(">i", len(body)) + body
        return data[: rng.randrange(len(data))]

    def _claimed_length(self) -> bytes:
        rng = self._rng
        size = rng.choice((-1, -(2**31), 0, 1, 3, 4, FRAME_SIZE_MAX, FRAME_SIZE_MAX + 1, 2**31 - 1, 1 << 20))
        body = rng.choice(self._kafka)
        return struct.pack(">i", size) + body[: rng.randint(0, len(body))]

    def _noise(self) -> bytes:
        rng = self._rng
        return rng.randbytes(rng.choice((0, 1, 3, 4, 5, 8, 20, 100, 1000)))

    def _stranger(self) -> bytes:
        stranger = bytearray(self._rng.choice(STRANGERS))
        if self._rng.random() < 0.3:
            self._mutator.mutate(stranger)
        return bytes(stranger)


def wishes_for_many_partitions(wire: Wire, body: bytearray) -> bool:
    """Whether a byte was changed into a legal wish for thousands of logs: it costs what it must, and proves nothing."""
    if wire is KAFKA and body[:2] not in MAKERS_OF_PARTITIONS:
        return False
    try:
        request = wire.decode_request(memoryview(body)).body
    except ProtocolError:
        return False
    topics = [topic for topic in getattr(request, "topics", None) or () if not isinstance(topic, str)]
    wishes = [
        (getattr(topic, name, 0), getattr(topic, "assignments", None) or ()) for topic in topics for name in WISHES
    ]
    return any(count > PARTITIONS_MAX or len(assignments) > PARTITIONS_MAX for count, assignments in wishes)
