"""Features: a promise stands in the table only when it is kept, and clients notice every change (1b.6, 1b.7)."""

from tidelog.broker.features import EPOCH, FEATURES, Feature


def test_only_what_is_there_is_promised() -> None:
    """Who changes this raises the epoch: clients believe the features of the highest one that they have seen."""
    assert list(FEATURES) == [Feature("metadata.version", 25), Feature("group.version", 1)]
    assert EPOCH == 2


def test_a_feature_stands_there_once() -> None:
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
