"""What metrics tell of rebalances."""

from tidelog.broker.coordinator.rebalances import ConsumerRebalances, Reason


def test_rebalances_are_counted_by_reason_and_their_time_is_added_up() -> None:
    figures = ConsumerRebalances()
    figures.begin(Reason.MEMBER_JOINED)
    figures.begin(Reason.MEMBER_JOINED)
    figures.begin(Reason.TOPICS_CHANGED)
    figures.complete(30)
    figures.complete(12)
    assert figures.begun == {Reason.MEMBER_JOINED: 2, Reason.TOPICS_CHANGED: 1}
    assert (figures.completed, figures.duration_ms_sum, figures.duration_ms_last) == (2, 42, 12)
