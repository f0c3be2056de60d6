"""The broker's own topics: their names, and the settings of theirs that nobody changes.

Clients read them, and neither write them nor have a say in whether they exist [B-19].

A fixed setting says what the topic is for, and no fact speaks of it: it goes with the name. `cleanup.policy=compact`
promises that of each key the newest record is kept for ever. Compaction is not built yet, so older ones are kept as
well, and nothing that the word promises is broken.
"""

from collections.abc import Mapping
from uuid import UUID

METADATA_TOPIC = "__cluster_metadata"
METADATA_TOPIC_ID = UUID("00000000-0000-0000-0000-000000000001")
OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"
SHARES_TOPIC = "__share_group_state"

INTERNAL_TOPICS = frozenset({METADATA_TOPIC, OFFSETS_TOPIC, TRANSACTIONS_TOPIC, SHARES_TOPIC})
"""Written by the broker alone."""

_COMPACTED: Mapping[str, str] = {"cleanup.policy": "compact"}
FIXED_SETTINGS: Mapping[str, Mapping[str, str]] = {
    OFFSETS_TOPIC: _COMPACTED,
    TRANSACTIONS_TOPIC: _COMPACTED,
}
"""By the topic's name; in Kafka's spelling."""

assert FIXED_SETTINGS.keys() <= INTERNAL_TOPICS, "what users own they may set"


def fixed_settings(name: str) -> Mapping[str, str]:
    """The settings that this topic has for good; none for a user's."""
    return FIXED_SETTINGS.get(name, {})
