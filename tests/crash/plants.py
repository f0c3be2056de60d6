"""What several proofs plant to see that it is noticed."""


class Believed(int):
    """A checksum that no other differs from."""

    def __ne__(self, other: object) -> bool:
        return False
