"""The table of error codes."""

from tidelog.cli.errors import Code, CommandFailed, Exit


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
    }
    assert {code.identifier: code.name for code in Code} == published


def test_every_code_has_a_meaning_and_an_exit_code_that_is_no_success() -> None:
    for code in Code:
        assert code.meaning.endswith("."), code
        assert code.exit_code not in (Exit.OK, Exit.INTERRUPTED, Exit.BROKEN_PIPE), code


def test_a_failure_is_one_line_with_its_hint() -> None:
    assert CommandFailed(Code.FAILED, "no", "try").line() == "error[TL-0001]: no · try"
    assert CommandFailed(Code.FAILED, "no").line() == "error[TL-0001]: no"
