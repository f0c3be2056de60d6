"""What group coordinators heed of the settings of the broker and of single groups.

Values can change while the broker runs: a machine keeps the object, and asks it each time that it needs a value.
"""

from enum import Enum
from typing import Protocol


class MigrationPolicy(Enum):
    """Which groups may change their protocol while they have members (KIP-848), in Kafka's words."""

    DISABLED = "disabled"
    DOWNGRADE = "downgrade"
    UPGRADE = "upgrade"
    BIDIRECTIONAL = "bidirectional"

    @property
    def allows_upgrade(self) -> bool:
        """From the classic protocol to the consumer protocol."""
        return self in (MigrationPolicy.UPGRADE, MigrationPolicy.BIDIRECTIONAL)

    @property
    def allows_downgrade(self) -> bool:
        """From the consumer protocol to the classic one."""
        return self in (MigrationPolicy.DOWNGRADE, MigrationPolicy.BIDIRECTIONAL)


class GroupSettings(Protocol):
    """The values as of now."""

    # Of all groups

    @property
    def memory_max_bytes(self) -> int:
        """The most memory that all groups and their offsets may take; -1 for no limit."""

    # Of groups of the classic protocol

    @property
    def classic_session_timeout_min_ms(self) -> int:
        """The shortest session that a member may ask for."""

    @property
    def classic_session_timeout_max_ms(self) -> int:
        """The longest."""

    @property
    def initial_rebalance_delay_ms(self) -> int:
        """How long the first rebalance of an empty group waits for more members."""

    @property
    def classic_max_size(self) -> int:
        """The most members of a group."""

    # Of groups of the consumer protocol

    def consumer_session_timeout_ms(self, group_id: str) -> int:
        """After how long a silent member is taken for dead: the group's own setting, else the broker's."""

    def consumer_heartbeat_interval_ms(self, group_id: str) -> int:
        """How often members are told to send a heartbeat: the group's own setting, else the broker's."""

    @property
    def consumer_max_size(self) -> int:
        """The most members of a group."""

    @property
    def consumer_assignors(self) -> tuple[str, ...]:
        """The names of those that members may choose; the first is for those who choose none. Never empty."""

    @property
    def migration_policy(self) -> MigrationPolicy:
        """Which way groups may be converted while they have members."""

    # Of offsets

    @property
    def offset_metadata_max_bytes(self) -> int:
        """The longest text that may be committed beside an offset."""

    @property
    def offsets_retention_ms(self) -> int:
        """How long offsets outlive the last member, or their commit where there never was one."""

    @property
    def offsets_retention_check_interval_ms(self) -> int:
        """How often offsets are looked through for such."""

    @property
    def offsets_topic_num_partitions(self) -> int:
        """Of `__consumer_offsets`, when it is created."""

    @property
    def offsets_topic_segment_bytes(self) -> int:
        """`segment.bytes` of `__consumer_offsets`, when it is created."""
