"""Offsets in a file, as Kafka's tool writes and reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.cli.offsets_file import parse_offsets, render_offsets

PLACES = st.tuples(st.text(alphabet="abz.-_09", min_size=1, max_size=30), st.integers(0, 2**31 - 1))


def test_a_line_is_topic_partition_offset() -> None:
    assert parse_offsets("orders,0,42\norders,1,7\n", "billing") == {("orders", 0): 42, ("orders", 1): 7}
    assert render_offsets({("orders", 0): 42, ("orders", 1): 7}) == "orders,0,42\norders,1,7\n"


def test_of_several_groups_only_ones_own_lines_count() -> None:
    text = "billing,orders,0,42\nreports,orders,0,43\n"
    assert parse_offsets(text, "billing") == {("orders", 0): 42}
    assert parse_offsets(text, "nobody") == {}


def test_the_mark_that_spreadsheets_put_in_front_is_no_part_of_a_topic() -> None:
    assert parse_offsets("\ufefforders,0,42\r\n", "billing") == {("orders", 0): 42}


def test_quotes_blanks_empty_lines_a_heading_and_other_line_ends_do_no_harm() -> None:
    text = 'topic,partition,offset\r\n"a.very.long.topic.name.that.is.quoted",0,1\r\n\r\norders, 1 , 2'
    assert parse_offsets(text, "g") == {("a.very.long.topic.name.that.is.quoted", 0): 1, ("orders", 1): 2}


@pytest.mark.parametrize(
    "text",
    [
        "orders",
        "orders,0",
        "a,b,c,d,e",
        "orders,x,1",
        "orders,0,-1",
        "orders,0,1.5",
        "orders,0,9223372036854775808",
        "orders,2147483648,1",
        "orders,0,1\norders,0,2",
        'orders,"0,1',
        "orders,0,²",
    ],
)
def test_anything_else_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"line \d"):
        parse_offsets(text, "billing")


@given(st.dictionaries(PLACES, st.integers(0, 2**63 - 1)))
def test_what_was_written_is_read(offsets: dict[tuple[str, int], int]) -> None:
    assert parse_offsets(render_offsets(offsets), "g") == offsets


@given(st.text(max_size=60))
def test_every_text_is_offsets_or_a_value_error(text: str) -> None:
    try:
        parse_offsets(text, "g")
    except ValueError:
        return
