"""Input falls into records, wherever it comes from and however it is cut into chunks."""

import asyncio
import io
import os
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.cli import input as source


async def all_records(stream: BinaryIO, end: bytes = b"\n") -> list[bytes]:
    return [record async for records in source.read_records(stream, end) for record in records]


async def test_a_last_line_without_a_newline_is_a_record_and_an_empty_line_too() -> None:
    assert await all_records(io.BytesIO(b"a\n\nb")) == [b"a", b"", b"b"]
    assert await all_records(io.BytesIO(b"a\n")) == [b"a"]
    assert await all_records(io.BytesIO(b"")) == []


@given(
    records=st.lists(st.binary(max_size=20).filter(lambda record: b"ab" not in record + b"ab"[:1]), max_size=20),
    chunk_size=st.integers(1, 7),
)
def test_a_delimiter_across_two_chunks_is_found(records: list[bytes], chunk_size: int) -> None:
    class Slowly(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            return super().read(chunk_size)

    text = b"".join(record + b"ab" for record in records)
    assert asyncio.run(all_records(Slowly(text), b"ab")) == text.split(b"ab")[:-1]


def test_a_regular_file_and_dev_null_are_read_to_their_end(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"".join(b"%d\n" % number for number in range(100_000)))
    with path.open("rb") as stream:
        assert source.size_of(stream) == path.stat().st_size
        assert asyncio.run(all_records(stream)) == [b"%d" % number for number in range(100_000)]
    with Path(os.devnull).open("rb") as stream:
        assert source.size_of(stream) is None
        assert asyncio.run(all_records(stream)) == []


async def test_what_comes_through_a_pipe_is_handed_on_before_the_pipe_ends() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        records = source.read_records(stream, b"\n")
        first = asyncio.ensure_future(anext(records))
        await asyncio.sleep(0)
        assert not first.done()
        os.write(writing, b"one\ntwo\nthr")
        assert await first == [b"one", b"two"]
        os.write(writing, b"ee")
        os.close(writing)
        assert await anext(records) == [b"three"]
        with pytest.raises(StopAsyncIteration):
            await anext(records)


async def test_a_pipe_stays_blocking_for_those_who_share_it() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\n")
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        await all_records(stream)
        assert os.get_blocking(reading)


async def test_a_file_without_delimiters_is_not_read_into_memory_whole() -> None:
    with pytest.raises(source.RecordTooLong, match="1,000"):
        await anext(source.read_records(io.BytesIO(b"x" * 1001), b"\n", size_max=1000))
