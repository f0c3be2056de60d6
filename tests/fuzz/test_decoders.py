"""Every message in every version, made and shrunk by hypothesis: with bytes changed it decodes or is refused.

Slower than the generator beside it, and the first to look at when that one finds something: what fails here is small.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.messages import examples, instances
from tidelog.protocol.apis import DEFINED, Api
from tidelog.protocol.codegen import UNREADABLE, Encode, decoder, encoder
from tidelog.protocol.primitives import Buffer

EXAMPLES = 8

Damage = list[tuple[str, int, bytes]]

DAMAGE: st.SearchStrategy[Damage] = st.lists(
    st.tuples(
        st.sampled_from(("overwrite", "insert", "cut")),
        st.integers(0, 1 << 16),
        st.one_of(
            st.binary(max_size=5),
            st.sampled_from((b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\x07", b"\xff" * 10, b"\x80" * 10, b"\x80\0\0\0")),
        ),
    ),
    max_size=3,
)


def damaged(data: bytes, damage: Damage) -> bytearray:
    """With each damage done where it says."""
    changed = bytearray(data)
    for how, place, octets in damage:
        position = place % (len(changed) + 1)
        if how == "cut":
            del changed[position:]
        else:
            changed[position : position + (len(octets) if how == "overwrite" else 0)] = octets
    return changed


def written(encode: Encode, message: object) -> bytes:
    """As bytes."""
    parts: list[Buffer] = []
    encode(message, parts, [])
    return b"".join(parts)


def defined() -> list[tuple[Api, int]]:
    """Every API of which there are messages, served or not, in every version."""
    return [(api, version) for api in DEFINED.values() for version in range(api.versions.min, api.versions.max + 1)]


@pytest.mark.parametrize(("api", "version"), defined(), ids=lambda value: getattr(value, "name", value))
def test_damaged_messages_decode_or_are_refused_and_what_decodes_is_written_the_same(api: Api, version: int) -> None:
    flexible = api.is_flexible(version)

    @examples(EXAMPLES)
    @given(message=instances(api.request, version) | instances(api.response, version), damage=DAMAGE)
    def check(message: object, damage: Damage) -> None:
        kind: type = type(message)
        encode, decode = encoder(kind, version, flexible), decoder(kind, version, flexible)
        frame = memoryview(damaged(written(encode, message), damage))
        try:
            read, position = decode(frame, 0)
        except UNREADABLE:
            return
        assert position <= len(frame)
        # Not the messages: a NaN is not equal to itself; and not the frame: a length may be written in several ways.
        again = written(encode, read)
        assert written(encode, decode(memoryview(bytearray(again)), 0)[0]) == again

    check()
