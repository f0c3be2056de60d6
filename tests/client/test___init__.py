"""What the client's folder exports."""

import tidelog.client
from tidelog.client.errors import TidelogError


def test_every_exception_that_a_program_may_catch_is_exported() -> None:
    def kinds(root: type[TidelogError]) -> set[str]:
        return {root.__name__}.union(*(kinds(kind) for kind in root.__subclasses__()))

    assert kinds(TidelogError) <= set(tidelog.client.__all__)


def test_the_public_names_are_there_and_sorted() -> None:
    assert all(hasattr(tidelog.client, name) for name in tidelog.client.__all__)
    assert tidelog.client.__all__ == sorted(tidelog.client.__all__)
