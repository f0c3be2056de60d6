"""What is destroyed must be typed first. That it is asked for on a terminal is proved with the commands that ask."""

import io
import sys

import pytest

from tidelog.cli.confirm import confirm
from tidelog.cli.errors import Code, CommandFailed


class Terminal(io.StringIO):
    """Where a person sits."""

    def isatty(self) -> bool:
        return True


def test_without_a_person_it_is_refused_with_what_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("orders\n"))
    with pytest.raises(CommandFailed, match="remove orders") as refused:
        confirm("orders", act="remove", warning="for good")
    assert (refused.value.code, refused.value.hint) == (Code.NEEDS_CONFIRMATION, "say --yes")


@pytest.mark.parametrize(("answer", "is_declined"), [("orders", False), (" orders ", False), ("yes", True), ("", True)])
def test_only_the_name_itself_goes_on(monkeypatch: pytest.MonkeyPatch, answer: str, is_declined: bool) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: answer)
    if not is_declined:
        confirm("orders", act="remove", warning="for good")
        return
    with pytest.raises(CommandFailed) as declined:
        confirm("orders", act="remove", warning="for good")
    assert declined.value.code is Code.DECLINED
