"""Settings of groups for tests: the defaults, and what a test says."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidelog.broker.coordinator.group_settings import MigrationPolicy


@dataclass(slots=True, kw_only=True)
class SettingsForTests:
    """See `GroupSettings`. A test may change them at any time."""

    memory_max_bytes: int = -1
    classic_session_timeout_min_ms: int = 6000
    classic_session_timeout_max_ms: int = 1_800_000
    initial_rebalance_delay_ms: int = 0
    classic_max_size: int = (1 << 31) - 1
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 5000
    session_timeouts_ms: Mapping[str, int] = field(default_factory=dict)
    """Of single groups."""
    heartbeat_intervals_ms: Mapping[str, int] = field(default_factory=dict)
    consumer_max_size: int = (1 << 31) - 1
    consumer_assignors: tuple[str, ...] = ("uniform", "range")
    migration_policy: MigrationPolicy = MigrationPolicy.BIDIRECTIONAL
    offset_metadata_max_bytes: int = 4096
    offsets_retention_ms: int = 7 * 86_400_000
    offsets_retention_check_interval_ms: int = 600_000
    offsets_topic_num_partitions: int = 4
    offsets_topic_segment_bytes: int = 104_857_600

    def consumer_session_timeout_ms(self, group_id: str) -> int:
        """See `GroupSettings`."""
        return self.session_timeouts_ms.get(group_id, self.session_timeout_ms)

    def consumer_heartbeat_interval_ms(self, group_id: str) -> int:
        """See `GroupSettings`."""
        return self.heartbeat_intervals_ms.get(group_id, self.heartbeat_interval_ms)
