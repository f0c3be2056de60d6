"""Limits on connections: in all, and by address [Q-3]."""

from tidelog.broker.config import BrokerConfig
from tidelog.broker.network.limits import ConnectionLimits, host_of

MANY = 1 << 20


def limits(*overrides: str, descriptors_max: int = MANY) -> ConnectionLimits:
    return ConnectionLimits(BrokerConfig.load(overrides=overrides), descriptors_max=descriptors_max)


def test_without_limits_everybody_is_let_in() -> None:
    everybody = limits()
    assert [everybody.admit("10.0.0.1") for _ in range(1000)] == [None] * 1000
    assert everybody.open_count == 1000


def test_the_limit_on_all_connections_holds_whoever_comes() -> None:
    two = limits("max.connections=2")
    assert two.admit("10.0.0.1") is None
    assert two.admit("10.0.0.2") is None
    assert two.admit("10.0.0.3") == "max.connections"
    two.leave("10.0.0.1")
    assert two.admit("10.0.0.3") is None


def test_the_limit_by_address_holds_for_each_address() -> None:
    one = limits("max.connections.per.ip=1")
    assert one.admit("10.0.0.1") is None
    assert one.admit("10.0.0.1") == "max.connections.per.ip"
    assert one.admit("10.0.0.2") is None
    one.leave("10.0.0.1")
    assert one.admit("10.0.0.1") is None


def test_an_address_may_have_a_limit_of_its_own() -> None:
    """Kafka: 0 for all others is how only the named ones are let in."""
    named = limits("max.connections.per.ip=0", "max.connections.per.ip.overrides=10.0.0.1:2,[::1]:1")
    assert [named.admit("10.0.0.1") for _ in range(3)] == [None, None, "max.connections.per.ip"]
    assert [named.admit("::1") for _ in range(2)] == [None, "max.connections.per.ip"]
    assert named.admit("10.0.0.2") == "max.connections.per.ip"


def test_an_ipv4_address_is_the_same_through_an_ipv6_socket() -> None:
    assert host_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert host_of("10.0.0.1") == "10.0.0.1"
    assert host_of("2001:db8::1") == "2001:db8::1"
    one = limits("max.connections.per.ip.overrides=::ffff:10.0.0.1:1")
    assert one.admit(host_of("::ffff:10.0.0.1")) is None
    assert one.admit(host_of("10.0.0.1")) == "max.connections.per.ip"


def test_some_descriptors_are_left_for_the_logs() -> None:
    few = limits(descriptors_max=100)
    assert [few.admit("10.0.0.1") for _ in range(76)] == [None] * 75 + ["file descriptors"]


def test_limits_can_change_and_who_is_in_stays() -> None:
    changing = limits("max.connections=3")
    for _ in range(3):
        changing.admit("10.0.0.1")
    changing.reconfigure(BrokerConfig.load(overrides=["max.connections=1"]))
    assert changing.open_count == 3
    changing.leave("10.0.0.1")
    changing.leave("10.0.0.1")
    assert changing.admit("10.0.0.1") == "max.connections"
    changing.leave("10.0.0.1")
    assert changing.admit("10.0.0.1") is None
