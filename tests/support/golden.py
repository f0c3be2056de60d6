"""Golden files: what a command prints for programs, kept as it was published.

A schema that changes breaks those who read it; so a difference is a failure, and who means it writes the file anew with
`WRITE_GOLDEN=1` and sees the change in the commit.
"""

import os
from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[1] / "cli" / "golden"


def assert_golden(name: str, printed: str, *, server: str) -> None:
    """It is what stands in the file, the stub's address apart."""
    text = printed.replace(server, "HOST:PORT")
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, f"{name} differs; WRITE_GOLDEN=1 writes it anew"
