"""What coordinators ask of settings."""

import pytest

from tidelog.broker.coordinator.group_settings import MigrationPolicy


@pytest.mark.parametrize(
    ("word", "upgrade", "downgrade"),
    [("disabled", 0, 0), ("downgrade", 0, 1), ("upgrade", 1, 0), ("bidirectional", 1, 1)],
)
def test_a_policy_says_which_way_groups_may_go(word: str, upgrade: int, downgrade: int) -> None:
    """C-8."""
    policy = MigrationPolicy(word)
    assert (policy.allows_upgrade, policy.allows_downgrade) == (bool(upgrade), bool(downgrade))
