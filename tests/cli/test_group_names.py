"""How a line names topics and partitions; how groups are named is proved with the commands."""

import click
import pytest

from tidelog.cli.group_names import Selection, not_empty, parse_selection
from tidelog.client import GroupDescription, GroupMember
from tidelog.client.config import Address


def test_a_topic_may_be_narrowed_to_partitions() -> None:
    assert parse_selection("orders") == Selection("orders")
    assert parse_selection("orders:0,12") == Selection("orders", frozenset({0, 12}))
    assert parse_selection(Selection("orders")) == Selection("orders")


@pytest.mark.parametrize("text", ["", ":1", "orders:", "orders:x", "orders:1,", "orders:-1", "orders:1:2", "orders:²"])
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not TOPIC or TOPIC:0,1"):
        parse_selection(text)


def test_a_selection_holds_what_it_names() -> None:
    assert Selection("orders").has("orders", 7)
    assert not Selection("orders").has("clicks", 7)
    assert Selection("orders", frozenset({1})).has("orders", 1)
    assert not Selection("orders", frozenset({1})).has("orders", 0)


def test_the_refusal_of_a_group_in_use_tells_who_uses_it() -> None:
    member = GroupMember(member_id="m", client_id="c", host="/h", assignment={})
    group = GroupDescription(
        group_id="billing",
        kind="classic",
        state="Stable",
        protocol_type="consumer",
        assignor="range",
        coordinator=Address("h", 1),
        members=(member,),
    )
    assert "'billing' is Stable with 1 member:" in not_empty(group, "reset").text
