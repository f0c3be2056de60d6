"""The daemon: connections, topics, metadata, handlers and what puts them together."""
