"""The budget of open segments."""

from tidelog.storage.errors import DiskFailed
from tidelog.storage.handles import Handles


class Owner:
    def __init__(self) -> None:
        self.evictions = 0

    def evict(self) -> None:
        self.evictions += 1


def test_the_one_used_least_recently_closes_its_files() -> None:
    handles = Handles(2)
    a, b, c = Owner(), Owner(), Owner()
    for owner in (a, b, a, c):
        handles.touch(owner)
    assert (a.evictions, b.evictions, c.evictions) == (0, 1, 0)
    assert len(handles) == 2


def test_who_wants_a_place_has_no_part_in_what_another_cannot_close() -> None:
    class Failing(Owner):
        def evict(self) -> None:
            super().evict()
            raise DiskFailed("t-0/00000000000000000000.log", "Input/output error")

    handles = Handles(1)
    first, second = Failing(), Owner()
    handles.touch(first)
    handles.touch(second)
    assert (first.evictions, len(handles)) == (1, 1)


def test_what_is_forgotten_is_not_closed_and_takes_no_place() -> None:
    handles = Handles(1)
    a, b = Owner(), Owner()
    handles.touch(a)
    handles.forget(a)
    handles.forget(a)
    handles.touch(b)
    assert (a.evictions, b.evictions, len(handles)) == (0, 0, 1)
