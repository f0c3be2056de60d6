"""The checker: each broken promise is seen, and nothing else."""

import json

from support.history import ACKS_ALL, Entry, History, Place, Send, check

ORDERS = Place("orders", 0)


class Story:
    """A history in short words, over one topic with one partition."""

    def __init__(self) -> None:
        self.history = History()
        self.history.over(self.history.topic_change("orders", creates=True), "ok")

    def sends(self, value: str, *, acks: int = ACKS_ALL, producer: str = "p1", idempotent: bool = False) -> Send:
        """A send that is not answered yet."""
        return self.history.send(
            producer=producer, topic="orders", key=None, value=value.encode(), acks=acks, idempotent=idempotent
        )

    def acked(self, value: str, offset: int | None, *, acks: int = ACKS_ALL, producer: str = "p1") -> None:
        """A send and its answer."""
        self.history.acknowledged(self.sends(value, acks=acks, producer=producer), 0, offset)

    def reads(self, *entries: tuple[int, str], start: int = 0, to_end: bool = False) -> None:
        """A reader."""
        read = self.history.read(reader="r1", place=ORDERS, start=start, is_bounded=to_end)
        for offset, value in entries:
            self.history.saw(read, Entry(offset, None, value.encode()))
        self.history.over(read, "ok")

    def verdict(self, *final: str, first: int = 0) -> list[str]:
        """The kinds of violations, given what the log holds at the end."""
        entries = [Entry(offset, None, value.encode()) for offset, value in enumerate(final, first)]
        return [violation.kind for violation in check(self.history, {ORDERS: entries})]


def test_a_log_that_holds_what_was_acknowledged_breaks_nothing() -> None:
    story = Story()
    story.acked("a", 0)
    story.acked("b", 1, acks=1)
    story.acked("c", None, acks=0)
    story.reads((0, "a"), (1, "b"))
    story.reads((1, "b"), start=1)
    assert story.verdict("a", "b", "c") == []
    assert story.history.operation_count == 6


def test_a_missing_acknowledged_record_is_lost_even_by_a_power_cut() -> None:
    story = Story()
    story.acked("a", 0)
    story.acked("b", 1)
    story.history.fault("power cut")
    assert story.verdict("a") == ["lost"]


def test_an_acknowledged_record_at_another_offset_is_lost() -> None:
    story = Story()
    story.acked("a", 1)
    story.sends("b")
    assert story.verdict("a", "b") == ["lost"]


def test_an_acknowledged_record_with_another_key_is_lost_and_invented() -> None:
    story = Story()
    send = story.history.send(producer="p", topic="orders", key=b"k", value=b"a", acks=ACKS_ALL)
    story.history.acknowledged(send, 0, 0)
    assert story.verdict("a") == ["invented", "lost"]


def test_a_power_cut_may_take_an_acks_1_record_but_a_kill_may_not() -> None:
    for fault, expected in (("power cut", []), ("kill", ["lost"])):
        story = Story()
        story.acked("a", 0)
        story.acked("b", 1, acks=1)
        story.history.fault(fault)  # type: ignore[arg-type]
        story.acked("c", 1, producer="p2")
        assert story.verdict("a", "c") == expected


def test_a_power_cut_before_the_send_is_no_excuse() -> None:
    story = Story()
    story.history.fault("power cut")
    story.acked("a", 0, acks=1)
    assert story.verdict() == ["lost"]


def test_an_acks_1_record_below_something_durable_is_durable() -> None:
    story = Story()
    story.acked("a", 0, acks=1)
    story.acked("b", 1, producer="p2")
    story.history.fault("power cut")
    assert "lost" in story.verdict("x")

    story = Story()
    story.acked("a", 0, acks=1)
    story.reads((0, "a"))
    story.history.fault("power cut")
    assert "lost" in story.verdict()


def test_what_acks_0_sent_may_be_missing() -> None:
    story = Story()
    story.acked("a", None, acks=0)
    assert story.verdict() == []


def test_a_record_that_was_read_and_is_gone_or_changed_was_taken_back() -> None:
    story = Story()
    story.sends("a")
    story.sends("b")
    story.reads((0, "a"))
    assert story.verdict() == ["taken back"]
    assert story.verdict("b", "a") == ["taken back"]
    assert story.verdict("a", "b") == []


def test_two_readers_must_see_the_same() -> None:
    story = Story()
    story.sends("a")
    story.sends("b")
    story.reads((0, "a"))
    story.reads((0, "b"))
    assert "taken back" in story.verdict("a")


def test_a_hole_in_the_offsets_is_a_gap() -> None:
    story = Story()
    story.sends("a")
    assert story.verdict("a", first=1) == ["gap"]


def test_a_record_that_nobody_sent_is_invented() -> None:
    story = Story()
    assert story.verdict("x") == ["invented"]
    send = story.history.send(producer="p", topic="orders", key=None, value=b"elsewhere", acks=ACKS_ALL, partition=3)
    story.history.over(send, "info")
    assert story.verdict("elsewhere") == ["invented"]


def test_a_record_of_which_it_was_said_that_it_failed_must_not_be_there() -> None:
    story = Story()
    send = story.sends("a")
    story.history.over(send, "fail")
    assert story.verdict("a") == ["raised"]
    assert story.verdict() == []


def test_a_record_whose_fate_nobody_knows_may_be_there_or_not() -> None:
    story = Story()
    send = story.sends("a")
    story.history.over(send, "info")
    story.sends("pending")
    assert story.verdict("a") == story.verdict() == story.verdict("pending") == []


def test_a_duplicate_needs_a_fault_within_its_send() -> None:
    story = Story()
    story.history.fault("connection")
    story.acked("a", 0)
    story.history.fault("connection")
    assert story.verdict("a", "a") == ["duplicate"]

    story = Story()
    send = story.sends("a")
    story.history.fault("connection")
    story.history.acknowledged(send, 0, 1)
    assert story.verdict("a", "a") == []


def test_an_idempotent_producer_has_no_reason_for_a_duplicate() -> None:
    story = Story()
    send = story.sends("a", idempotent=True)
    story.history.fault("connection")
    story.history.acknowledged(send, 0, 1)
    assert story.verdict("a", "a") == ["duplicate"]


def test_an_idempotent_producers_records_stand_in_the_order_of_their_sends_acknowledged_or_not() -> None:
    story = Story()
    story.sends("a", idempotent=True)
    story.sends("b", idempotent=True)
    story.sends("c", idempotent=True, producer="p2")
    assert story.verdict("c", "a", "b") == []
    assert story.verdict("b", "c", "a") == ["disorder"]
    story = Story()
    story.sends("a")
    story.sends("b")
    assert story.verdict("b", "a") == []


def test_a_producers_records_are_acknowledged_in_the_order_of_their_sends() -> None:
    story = Story()
    story.acked("b", 1)
    story.acked("a", 0)
    assert story.verdict("a", "b") == ["disorder"]

    story = Story()
    story.acked("b", 1, producer="p1")
    story.acked("a", 0, producer="p2")
    assert story.verdict("a", "b") == []


def test_an_offset_may_be_given_again_after_a_power_cut_took_an_acks_1_record() -> None:
    story = Story()
    story.acked("a", 0, acks=1)
    story.history.fault("power cut")
    story.acked("b", 0, acks=1)
    assert story.verdict("b") == []


def test_a_reader_gets_each_offset_once_and_in_order() -> None:
    for entries in (((0, "a"), (2, "c")), ((0, "a"), (0, "a")), ((1, "b"),)):
        story = Story()
        for value in "abc":
            story.sends(value)
        story.reads(*entries)
        assert story.verdict("a", "b", "c") == ["skipped"]


def test_a_reader_to_the_end_sees_all_that_was_durable_before() -> None:
    story = Story()
    story.acked("a", 0)
    story.acked("b", 1)
    story.reads((0, "a"), to_end=True)
    assert story.verdict("a", "b") == ["unseen"]

    story = Story()
    story.acked("a", 0)
    read = story.history.read(reader="r", place=ORDERS, start=0, is_bounded=True)
    story.acked("b", 1)
    story.history.saw(read, Entry(0, None, b"a"))
    story.history.over(read, "ok")
    assert story.verdict("a", "b") == []


def test_an_end_never_recedes() -> None:
    story = Story()
    story.acked("a", 0)
    story.history.end_seen(ORDERS, 2, invoked=story.history.now())
    assert story.verdict("a") == ["receded"]

    story = Story()
    story.acked("a", 0)
    story.history.end_seen(ORDERS, 0, invoked=story.history.now())
    assert story.verdict("a") == ["receded"]


def test_topics_are_there_as_they_were_said_to_be() -> None:
    def verdict(*changes: tuple[str, bool, str]) -> list[str]:
        history = History()
        for topic, creates, outcome in changes:
            history.over(history.topic_change(topic, creates=creates), outcome)  # type: ignore[arg-type]
        return [violation.kind for violation in check(history, {ORDERS: []})]

    assert verdict(("orders", True, "ok")) == []
    assert verdict(("orders", True, "info")) == []
    assert verdict(("orders", True, "ok"), ("orders", False, "info")) == []
    assert verdict(("orders", True, "ok"), ("orders", False, "ok")) == ["topic"]
    assert verdict(("orders", True, "ok"), ("payments", True, "ok")) == ["topic"]
    assert verdict() == ["topic"]


def test_records_of_a_deleted_topic_are_nobodys_claim() -> None:
    story = Story()
    story.acked("a", 0)
    story.reads((0, "a"))
    story.history.over(story.history.topic_change("orders", creates=False), "ok")
    assert check(story.history, {}) == []


def test_a_history_can_be_written_down() -> None:
    story = Story()
    story.acked("a", 0)
    story.history.fault("kill")
    story.reads((0, "a"))
    lines = [json.loads(line) for line in story.history.json_lines()]
    assert [line["what"] for line in lines] == ["TopicChange", "Send", "Fault", "Read"]
    assert lines[1]["value"] == "a"
