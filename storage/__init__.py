"""Logs on a disk: segments, indexes, recovery. Synchronous; one owner per log; time arrives as `now_ms`."""
