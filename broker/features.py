"""The features of the cluster: what it can, and what it has switched on (KIP-584).

A feature is a promise of a whole behaviour: `transaction.version` changes what producers send, `group.version` which
groups consumers join. So one stands here only once all that it promises is right. No level can be chosen: each feature
is supported at one level, and switched on at that.

`metadata.version` promises clients nothing; tools read from it which Kafka's vocabulary the cluster speaks. Ours is
that of Kafka 4.0 at least. `kraft.version` stays away: its level 1 is a quorum whose voters can be changed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature and its level."""

    name: str
    level: int


FEATURES: tuple[Feature, ...] = (Feature("metadata.version", 25), Feature("group.version", 1))
"""Of metadata.version, 25 is what Kafka calls 4.0-IV3; group.version 1 is the consumer protocol (KIP-848)."""

EPOCH = 2
"""To be raised with every change of the table: clients believe the highest epoch that they have seen."""

assert all(feature.level > 0 for feature in FEATURES), (
    "a feature at level 0 is switched off; clients refuse it (KAFKA-17011)"
)
