"""Who may connect: how many connections there may be, over all listeners, and how many from one address."""

from ..config import BrokerConfig

MAPPED = "::ffff:"
"""How an IPv4 address stands in an IPv6 socket: the same machine, so the same address here."""

DESCRIPTORS_SHARE = 0.75
"""Of the process's descriptors that connections may take. The rest is for logs: a connection that is refused comes
again, a segment that cannot be opened is an error."""


class ConnectionLimits:
    """Counts what is open. A limit is named by its setting, for logs and metrics."""

    def __init__(self, config: BrokerConfig, *, descriptors_max: int) -> None:
        self.open_count = 0
        self._descriptors_max = int(descriptors_max * DESCRIPTORS_SHARE)
        self._by_host: dict[str, int] = {}
        self.reconfigure(config)

    def reconfigure(self, config: BrokerConfig) -> None:
        """Other limits from now on. Who is in stays."""
        self._max_connections = config.max_connections
        self._per_host = config.max_connections_per_ip
        self._overrides = {host_of(one.address): one.count for one in config.max_connections_per_ip_overrides}

    def admit(self, host: str) -> str | None:
        """Count one from `host`; or the limit by which it is refused, and not counted."""
        if self.open_count >= self._max_connections:
            return "max.connections"
        if self.open_count >= self._descriptors_max:
            return "file descriptors"
        count = self._by_host.get(host, 0)
        if count >= self._overrides.get(host, self._per_host):
            return "max.connections.per.ip"
        self._by_host[host] = count + 1
        self.open_count += 1
        return None

    def leave(self, host: str) -> None:
        """One that was admitted is gone."""
        self.open_count -= 1
        left = self._by_host[host] - 1
        if left:
            self._by_host[host] = left
        else:
            del self._by_host[host]


def host_of(address: str) -> str:
    """The address by which connections are counted: an IPv4 one that came through an IPv6 socket as itself."""
    if address.startswith(MAPPED) and "." in address:
        return address.removeprefix(MAPPED)
    return address
