"""The broker's own topics: their names, and the settings of theirs that nobody changes.

Clients read them, and neither write them nor have a say in whether they exist [B-19].

A fixed setting says what the topic is for, and goes with the name: it holds whatever facts say, and whatever the broker
has for topics that say nothing. `cleanup.policy=compact` promises that of each key the newest record is kept for ever.
Compaction is not built yet, so older ones are kept as well, and nothing that the word promises is broken. What the
broker has answered is durable, so `write.caching` is off; and no limit that is meant for producers stops its records.
"""

from collections.abc import Mapping
from uuid import UUID

from ...storage.config import INT_MAX, TOPIC_ATTRIBUTES

METADATA_TOPIC = "__cluster_metadata"
METADATA_TOPIC_ID = UUID("00000000-0000-0000-0000-000000000001")
OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"
SHARES_TOPIC = "__share_group_state"

INTERNAL_TOPICS = frozenset({METADATA_TOPIC, OFFSETS_TOPIC, TRANSACTIONS_TOPIC, SHARES_TOPIC})
"""Written by the broker alone."""

_RELIABLE: Mapping[str, str] = {"write.caching": "false", "max.message.bytes": str(INT_MAX)}
_COMPACTED: Mapping[str, str] = {"cleanup.policy": "compact", **_RELIABLE}
FIXED_SETTINGS: Mapping[str, Mapping[str, str]] = {
    OFFSETS_TOPIC: _COMPACTED,
    TRANSACTIONS_TOPIC: _COMPACTED,
    SHARES_TOPIC: _RELIABLE,
}
"""By the topic's name; in Kafka's spelling."""

assert FIXED_SETTINGS.keys() <= INTERNAL_TOPICS, "what users own they may set"


def fixed_settings(name: str) -> Mapping[str, str]:
    """The settings that this topic has for good; none for a user's."""
    return FIXED_SETTINGS.get(name, {})


def effective_settings(name: str, configs: Mapping[str, str]) -> Mapping[str, str]:
    """What holds for a topic of which facts say `configs`: as far as there is a mechanism for it."""
    built = {key: value for key, value in fixed_settings(name).items() if key in TOPIC_ATTRIBUTES}
    return {**configs, **built} if built else configs
