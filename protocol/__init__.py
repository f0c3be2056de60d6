"""Bytes to messages and back: the record batch, both wires. Pure: no clock, no socket, no disk."""
