"""Sockets: listeners, connections, the dispatcher, and the HTTP side."""
