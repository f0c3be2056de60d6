"""Which partition remembers which group: Kafka's choice, so that its tools look in the right place."""

import pytest

from tidelog.broker.coordinator.group_partition import _known, partition_for


@pytest.mark.parametrize(
    ("group_id", "java_hash"),
    [
        ("", 0),
        ("test", 3556498),
        ("hello", 99162322),
        ("polygenelubricants", 0),  # its hash is Java's smallest int, whose absolute value is none
        ("\N{GRINNING FACE}", 0xD83D * 31 + 0xDE00),  # Java counts halves of such a character
        ("Hello World", 862545276),  # it is negative,
    ],
)
def test_a_group_lives_where_javas_hash_of_its_id_says(group_id: str, java_hash: int) -> None:
    for count in (1, 4, 50, 1000):
        assert partition_for(group_id, count) == java_hash % count


def test_long_names_of_strangers_are_not_kept() -> None:
    before = _known.cache_info().currsize
    for number in range(10):
        partition_for(f"{number:0250}", 4)
    assert _known.cache_info().currsize == before
