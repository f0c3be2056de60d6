"""Records as text: what `consume` prints and what `produce` reads."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.cli.record_format import (
    Draft,
    compile_format,
    compile_input,
    key_from,
    parse_json,
    render_json,
    render_value,
    unescape,
)


@dataclass(frozen=True)
class Consumed:
    """A record as a reader hands it out."""

    topic: str = "orders"
    partition: int = 3
    offset: int = 42
    timestamp: int = 1_700_000_000_000
    key: bytes | None = b"k"
    value: bytes | None = b"v"
    headers: tuple[tuple[str, bytes | None], ...] = (("a", b"1"), ("a", None))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("%v\n", b"v\n"),
        (r"%s\n", b"v\n"),
        (r"%t [%p] at %o: %k=%v\n", b"orders [3] at 42: k=v\n"),
        (r"%T %h %K %S", b"1700000000000 a=1,a=NULL 1 1"),
        (r"100%%\t%k", b"100%\tk"),
        (r"\x00%k\xff é", b"\x00k\xff \xc3\xa9"),
        ("", b""),
    ],
)
def test_a_format_prints_kcats_tokens(text: str, printed: bytes) -> None:
    assert compile_format(text)(Consumed()) == printed


def test_a_null_has_size_minus_one_and_an_empty_value_zero() -> None:
    assert compile_format("%K %S|%k%v")(Consumed(key=None, value=b"")) == b"-1 0|"


@pytest.mark.parametrize("text", ["%q", "%", r"\q", r"\xz1"])
def test_an_unknown_token_or_escape_is_refused_with_those_that_exist(text: str) -> None:
    with pytest.raises(ValueError, match="there are"):
        compile_format(text)


def test_a_double_backslash_is_one_backslash() -> None:
    assert unescape(r"\\n\n") == b"\\n\n"


def test_the_default_prints_the_value_and_a_newline() -> None:
    assert render_value(Consumed()) == b"v\n"
    assert render_value(Consumed(value=None)) == b"\n"


def test_a_json_line_has_a_stable_shape() -> None:
    assert json.loads(render_json(Consumed(value="é".encode()))) == {
        "topic": "orders",
        "partition": 3,
        "offset": 42,
        "timestamp": 1_700_000_000_000,
        "key": "k",
        "value": "é",
        "headers": [{"key": "a", "value": "1"}, {"key": "a", "value": None}],
    }


BYTES = st.none() | st.binary()


@given(key=BYTES, value=BYTES, headers=st.lists(st.tuples(st.text(), BYTES)).map(tuple))
def test_json_lines_that_were_consumed_can_be_produced_again(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]
) -> None:
    line = render_json(Consumed(key=key, value=value, headers=headers))
    assert line.count(b"\n") == 1
    assert parse_json(line) == Draft(key=key, value=value, headers=headers, timestamp_ms=1_700_000_000_000)


def test_a_json_record_needs_nothing_but_a_value() -> None:
    assert parse_json(b'{"value": {"id": 1}}') == Draft(value=b'{"id": 1}')
    assert parse_json(b"{}") == Draft(value=None)


@pytest.mark.parametrize(
    "line",
    [b"[1]", b"{", b"\xff", b'{"headers": 1}', b'{"headers": [1]}', b'{"timestamp": "1"}', b'{"value_base64": "?"}'],
)
def test_a_json_record_of_another_shape_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|headers|whole number|base64"):
        parse_json(line)


def test_a_key_field_makes_the_key_and_leaves_the_line_as_it_stands() -> None:
    line = b'{"id":1,  "module": "core"}'
    assert key_from("module")(line) == Draft(value=line, key=b"core")
    assert key_from("id")(line) == Draft(value=line, key=b"1")


def test_a_null_key_field_is_no_key() -> None:
    assert key_from("k")(b'{"k": null}').key is None


@pytest.mark.parametrize(("line", "reason"), [(b'{"a": 1}', "no field 'k'"), (b"[]", "object"), (b"k=1", "not JSON")])
def test_a_line_without_its_key_field_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        key_from("k")(line)


@pytest.mark.parametrize(
    ("text", "end", "line", "draft"),
    [
        (r"%k\t%v\n", b"\n", b"a\tb\tc", Draft(key=b"a", value=b"b\tc")),
        ("%k:%v", b"\n", b"a:b", Draft(key=b"a", value=b"b")),
        ("%v", b"\n", b"", Draft(value=b"")),
        (r"%T,%s\0", b"\0", b"17,v\n", Draft(value=b"v\n", timestamp_ms=17)),
        ("key %k is %v;;", b";;", b"key a is b", Draft(key=b"a", value=b"b")),
    ],
)
def test_an_input_format_cuts_records_at_its_literals(text: str, end: bytes, line: bytes, draft: Draft) -> None:
    format_ = compile_input(text)
    assert format_.end == end
    assert format_.parse(line) == draft


@pytest.mark.parametrize("text", ["", "plain", "%k%v", "%v %v", "%o %v", "%p %v", "%h=%v"])
def test_an_input_format_that_could_not_be_read_back_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no input format|between two tokens"):
        compile_input(text)


@pytest.mark.parametrize(("text", "line"), [(r"%k\t%v", b"no tab"), ("%T %v", b"x v"), ("> %v", b"< v")])
def test_a_record_that_does_not_fit_the_input_format_is_refused(text: str, line: bytes) -> None:
    with pytest.raises(ValueError, match=r"there is no|invalid literal|does not begin"):
        compile_input(text).parse(line)
