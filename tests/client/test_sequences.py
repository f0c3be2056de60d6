"""The numbers of a partition's batches."""

from tidelog.client.sequences import Sequences, Stamp
from tidelog.protocol.primitives import INT16_MAX, INT32_MAX


def test_a_batch_begins_where_the_last_one_ended() -> None:
    """I-3."""
    sequences = Sequences(7)
    assert [sequences.stamp(count) for count in (3, 1, 5)] == [Stamp(7, 0, 0), Stamp(7, 0, 3), Stamp(7, 0, 4)]


def test_numbers_begin_again_at_0_after_the_largest_one() -> None:
    """I-3, I-4: a batch may itself span the wrap."""
    sequences = Sequences(7)
    assert sequences.stamp(INT32_MAX).base_sequence == 0
    assert sequences.stamp(3).base_sequence == INT32_MAX
    assert sequences.stamp(1).base_sequence == 2
    exact = Sequences(7)
    exact.stamp(INT32_MAX)
    exact.stamp(1)
    assert exact.stamp(1).base_sequence == 0


def test_an_epoch_begins_at_0_and_knows_its_own_numbers() -> None:
    sequences = Sequences(7)
    old = sequences.stamp(3)
    assert sequences.gave(old)
    assert sequences.begin_epoch()
    assert not sequences.gave(old)
    assert sequences.stamp(1) == Stamp(7, 1, 0)
    assert not sequences.gave(Stamp(8, 1, 0))


def test_epochs_come_to_an_end() -> None:
    """I-9: what is left then is another producer id."""
    sequences = Sequences(7)
    for _ in range(INT16_MAX):
        assert sequences.begin_epoch()
    assert not sequences.begin_epoch()
    assert sequences.stamp(1) == Stamp(7, INT16_MAX, 0)
