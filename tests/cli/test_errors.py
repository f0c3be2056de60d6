"""The table of error codes."""

import pytest

from tidelog.cli.errors import Code, CommandFailed, Exit, raise_all


def test_no_code_is_given_twice() -> None:
    assert len({code.identifier for code in Code}) == len(Code)


def test_the_codes_that_were_once_published_keep_their_meaning() -> None:
    published = {
        "TL-0001": "FAILED",
        "TL-0002": "USAGE",
        "TL-0003": "NEEDS_CONFIRMATION",
        "TL-0004": "DECLINED",
        "TL-0005": "PARTIAL",
        "TL-0101": "UNREACHABLE",
        "TL-0102": "TIMED_OUT",
        "TL-0103": "UNAUTHORISED",
        "TL-0104": "REFUSED",
        "TL-0105": "NOT_READY",
        "TL-0201": "TOPIC_NOT_FOUND",
        "TL-0202": "TOPIC_EXISTS",
        "TL-0203": "PARTITION_NOT_FOUND",
        "TL-0204": "INVALID_TOPIC",
        "TL-0301": "BAD_RECORD",
        "TL-0302": "RECORD_TOO_LARGE",
        "TL-0303": "OFFSET_OUT_OF_RANGE",
        "TL-0304": "CORRUPT_RECORDS",
        "TL-0401": "BAD_CONFIG",
        "TL-0402": "CANNOT_LISTEN",
        "TL-0403": "CANNOT_START",
        "TL-0501": "LOG_NOT_FOUND",
        "TL-0502": "LOG_CORRUPT",
        "TL-0503": "LOG_DERIVED",
        "TL-0504": "LOG_IN_USE",
        "TL-0505": "LOG_FORMAT",
        "TL-0601": "GROUP_NOT_FOUND",
        "TL-0602": "GROUP_NOT_EMPTY",
        "TL-0603": "MEMBER_NOT_FOUND",
        "TL-0604": "LAG_OVER",
        "TL-0605": "NO_OFFSETS",
        "TL-0606": "BAD_OFFSETS_FILE",
        "TL-0607": "GROUPS_MISSING",
    }
    assert {code.identifier: code.name for code in Code} == published


def test_every_code_has_a_meaning_and_an_exit_code_that_is_no_success() -> None:
    for code in Code:
        assert code.meaning.endswith("."), code
        assert code.exit_code not in (Exit.OK, Exit.INTERRUPTED, Exit.BROKEN_PIPE), code


def test_a_failure_is_one_line_with_its_hint() -> None:
    assert CommandFailed(Code.FAILED, "no", "try").line() == "error[TL-0001]: no · try"
    assert CommandFailed(Code.FAILED, "no").line() == "error[TL-0001]: no"


def test_several_failures_are_one_and_a_part_that_was_done_is_three() -> None:
    gone, other = CommandFailed(Code.TOPIC_NOT_FOUND, "no a", "look"), CommandFailed(Code.REFUSED, "no b")
    raise_all([], asked=2)
    with pytest.raises(CommandFailed) as alone:
        raise_all([gone], asked=1)
    assert alone.value is gone
    with pytest.raises(CommandFailed) as every:
        raise_all([gone, other], asked=2)
    assert (every.value.code, every.value.text, every.value.hint) == (Code.TOPIC_NOT_FOUND, "no a; no b", "look")
    with pytest.raises(CommandFailed) as part:
        raise_all([gone], asked=2)
    assert part.value.code is Code.PARTIAL
