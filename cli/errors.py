"""What a command says when it fails: exit codes, and the one table of stable error codes.

A code is printed as `error[TL-0201]: text · hint`. Codes stand in runbooks and are matched by scripts, so none changes
its meaning or is used again. This file imports nothing heavy: `health` needs it and must stay quick.
"""

from collections.abc import Sequence
from enum import Enum, IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    CONDITION_NOT_MET = 4
    NOT_FOUND = 5
    UNREACHABLE = 6
    UNAUTHORISED = 7
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Code(Enum):
    """Every error code: its name on the terminal, the exit code it ends with, and what it means."""

    FAILED = ("TL-0001", Exit.FAILED, "The command failed for a reason that no other code names.")
    USAGE = ("TL-0002", Exit.USAGE, "The command line cannot be understood.")
    NEEDS_CONFIRMATION = ("TL-0003", Exit.USAGE, "A destructive command needs --yes when nobody can be asked.")
    DECLINED = ("TL-0004", Exit.FAILED, "The typed confirmation did not match; nothing was changed.")
    PARTIAL = ("TL-0005", Exit.PARTIAL, "A part of what was asked was done.")

    UNREACHABLE = ("TL-0101", Exit.UNREACHABLE, "No broker answers at that address.")
    TIMED_OUT = ("TL-0102", Exit.UNREACHABLE, "The broker did not answer in time.")
    UNAUTHORISED = ("TL-0103", Exit.UNAUTHORISED, "The broker does not allow this to who you are.")
    REFUSED = ("TL-0104", Exit.FAILED, "The broker refused the request.")
    NOT_READY = ("TL-0105", Exit.FAILED, "The broker is alive but not ready to serve.")

    TOPIC_NOT_FOUND = ("TL-0201", Exit.NOT_FOUND, "The topic does not exist.")
    TOPIC_EXISTS = ("TL-0202", Exit.FAILED, "A topic of that name exists already.")
    PARTITION_NOT_FOUND = ("TL-0203", Exit.NOT_FOUND, "The topic has no such partition.")
    INVALID_TOPIC = ("TL-0204", Exit.FAILED, "The topic's name, partition count or settings are not acceptable.")

    BAD_RECORD = ("TL-0301", Exit.FAILED, "An input record is not what the options say it is.")
    RECORD_TOO_LARGE = ("TL-0302", Exit.FAILED, "A record is larger than the topic accepts.")
    OFFSET_OUT_OF_RANGE = ("TL-0303", Exit.FAILED, "The log does not hold that offset.")
    CORRUPT_RECORDS = ("TL-0304", Exit.FAILED, "Records in the log are not what they claim to be.")

    BAD_CONFIG = ("TL-0401", Exit.USAGE, "A broker setting is unknown or its value is not acceptable.")
    CANNOT_LISTEN = ("TL-0402", Exit.FAILED, "The broker cannot listen at that address.")
    CANNOT_START = ("TL-0403", Exit.FAILED, "The broker cannot start; often its data directory is in use.")

    LOG_NOT_FOUND = ("TL-0501", Exit.NOT_FOUND, "There is no log or segment at that path.")
    LOG_CORRUPT = ("TL-0502", Exit.FAILED, "Bytes below the durable end of a log are damaged.")
    LOG_DERIVED = ("TL-0503", Exit.FAILED, "Files that follow from a log's records are wrong; they can be made again.")
    LOG_IN_USE = ("TL-0504", Exit.FAILED, "A broker has the data directory, so nothing in it can be repaired.")
    LOG_FORMAT = ("TL-0505", Exit.FAILED, "The data directory, or a file in it, is not in a format that can be read.")

    GROUP_NOT_FOUND = ("TL-0601", Exit.NOT_FOUND, "The group does not exist.")
    GROUP_NOT_EMPTY = ("TL-0602", Exit.FAILED, "The group has members, and that can be done only without them.")
    MEMBER_NOT_FOUND = ("TL-0603", Exit.NOT_FOUND, "The group has no such member.")
    LAG_OVER = ("TL-0604", Exit.CONDITION_NOT_MET, "A group is further behind than --over allows.")
    NO_OFFSETS = ("TL-0605", Exit.FAILED, "There is no offset to work with: none was committed, or none was given.")
    BAD_OFFSETS_FILE = ("TL-0606", Exit.FAILED, "The file of offsets is not what it should be.")
    GROUPS_MISSING = ("TL-0607", Exit.PARTIAL, "The groups of a damaged partition of __consumer_offsets are not shown.")

    def __init__(self, identifier: str, exit_code: Exit, meaning: str) -> None:
        self.identifier = identifier
        self.exit_code = exit_code
        self.meaning = meaning


class CommandFailed(Exception):
    """A command cannot go on. The text says what is wrong, the hint which option or command to try."""

    def __init__(self, code: Code, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.hint = hint

    def line(self) -> str:
        """The one line for a terminal."""
        hint = f" · {self.hint}" if self.hint else ""
        return f"error[{self.code.identifier}]: {self.text}{hint}"

    def as_json(self) -> dict[str, object]:
        """The same for a program that asked for JSON."""
        return {
            "error": {
                "code": self.code.identifier,
                "text": self.text,
                "hint": self.hint,
                "exit_code": int(self.code.exit_code),
            }
        }


def raise_all(failures: Sequence[CommandFailed], *, asked: int) -> None:
    """End with the one failure; with 3 when a part of what was asked was done."""
    if not failures:
        return
    if len(failures) == asked == 1:
        raise failures[0]
    code = failures[0].code if len(failures) == asked else Code.PARTIAL
    raise CommandFailed(code, "; ".join(failure.text for failure in failures), failures[0].hint)
