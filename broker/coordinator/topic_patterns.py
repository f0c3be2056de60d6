"""Topic patterns: regular expressions by which members of consumer groups subscribe (KIP-848).

They come from clients, and are matched inside the one loop that serves everybody. So they are RE2's: its time grows
with the pattern's size times the name's length, and never explodes. What remains is bounded here: the length of a
pattern, the memory that it may take, and the steps that all names together may cost; a pattern that wants more is
refused as invalid, before any name is looked at.

A pattern matches a name as a whole, as with Kafka.
"""

from collections.abc import Collection

from ...protocol.errors import ErrorCode, RequestRefused

LENGTH_MAX = 4096
"""Characters of a pattern."""
MEMORY_MAX = 1 << 18
"""Bytes that RE2 may take for a pattern; below that, too, it works without keeping what it has found out so far."""
STEPS_MAX = 100_000_000
"""The pattern's size times the characters of all names. At the very worst a step takes 2 ns, so this is 0.2 s; the
pattern `orders-.*` has size 19, and needs 4 million steps for 10,000 topics."""


class TopicPattern:
    """A valid pattern."""

    __slots__ = ("_pattern", "text")

    def __init__(self, text: str) -> None:
        """Raises INVALID_REGULAR_EXPRESSION."""
        import re2  # 20 ms and 4 MiB, for those who use it

        if len(text) > LENGTH_MAX:
            raise _invalid(text, f"it is longer than {LENGTH_MAX} characters")
        options = re2.Options()
        options.max_mem = MEMORY_MAX
        options.never_capture = True
        options.log_errors = False
        try:
            self._pattern = re2.compile(text, options)
        except re2.error as error:
            [said] = error.args
            raise _invalid(text, said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from error
        except UnicodeEncodeError as error:
            raise _invalid(text, "it is not valid Unicode") from error
        self.text = text

    def check_affordable(self, names: Collection[str]) -> None:
        """Raises INVALID_REGULAR_EXPRESSION if matching all names would take too long."""
        if self._pattern.programsize * sum(map(len, names)) > STEPS_MAX:
            raise _invalid(self.text, f"it is too large to be matched against {len(names)} topics")

    def matching(self, names: Collection[str]) -> set[str]:
        """Those of the names that it matches."""
        match = self._pattern.fullmatch
        return {name for name in names if match(name) is not None}


def _invalid(text: str, why: str) -> RequestRefused:
    shown = text if len(text) <= 200 else f"{text[:200]}…"
    return RequestRefused(
        ErrorCode.INVALID_REGULAR_EXPRESSION,
        f"SubscribedTopicRegex `{shown}` is not a valid regular expression: {why}.",
    )
