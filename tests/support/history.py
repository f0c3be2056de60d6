"""What clients did and saw, and whether a log broker may have behaved so.

A `History` is written while a simulation runs: each operation when it is invoked and when it is over, with its
outcome `ok`, `fail` (it certainly had no effect) or `info` (nobody knows); and the faults between them. Positions
in it are a clock: what stands before happened before. `check` compares it with the logs as they are found at the
very end.

The promises that are checked (house rule: acks=all means on the disk, and so does everything that a consumer sees):

* lost: a record acknowledged with acks=all is at its offset at the end, whatever happened. One acknowledged with
  acks=1 may be missing only if the power failed after its acknowledgement and before anything at or above its
  offset was durable.
* taken back: two looks at an offset, by acknowledgement, by any reader or at the end, show the same record.
* gap: offsets are contiguous from the log's start, which is 0.
* disorder: what a producer sent to a partition is acknowledged at rising offsets. An idempotent one's records stand in
  the order in which they were sent, acknowledged or not.
* duplicate: a record stands twice only if a fault fell into the time of its send: only then was there a reason to
  retry. An idempotent producer's never does.
* invented: nothing is there that nobody sent there; raised: nor anything of which it was said that it was not
  written.
* skipped: a reader gets each offset after the other; unseen: one that reads to the end sees all that was durable
  before.
* receded: an end that somebody was told is never above the end that is found; topic: topics are there as they were
  said to be.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Literal

Outcome = Literal["pending", "ok", "fail", "info"]
FaultKind = Literal["kill", "power cut", "connection"]

ACKS_ALL = -1


@dataclass(frozen=True, slots=True)
class Place:
    """A partition. A topic that is deleted and made anew gets another name here: `orders#2`."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A record at its offset."""

    offset: int
    key: bytes | None
    value: bytes | None

    def __str__(self) -> str:
        return f"@{self.offset} {_short(self.key)}={_short(self.value)}"


@dataclass(slots=True, kw_only=True)
class Send:
    """A record that a producer sent."""

    producer: str
    topic: str
    key: bytes | None
    value: bytes
    acks: int
    invoked: int
    completed: int | None = None
    outcome: Outcome = "pending"
    idempotent: bool = False
    """By a producer whose records are stored once and in order."""
    partition: int | None = None
    """Known beforehand or by its acknowledgement."""
    offset: int | None = None
    """Where it was acknowledged; None with acks=0 and without an answer."""

    @property
    def place(self) -> Place | None:
        """Its partition, if known."""
        return None if self.partition is None else Place(self.topic, self.partition)


@dataclass(slots=True, kw_only=True)
class Read:
    """A reader that went through a partition."""

    reader: str
    place: Place
    start: int
    invoked: int
    is_bounded: bool
    """It read to the end that the log had when it began."""
    seen: list[tuple[int, Entry]] = field(default_factory=list)
    """When, what."""
    completed: int | None = None
    outcome: Outcome = "pending"


@dataclass(slots=True, kw_only=True)
class EndSeen:
    """Somebody was told where a partition ends."""

    place: Place
    offset: int
    invoked: int
    completed: int


@dataclass(slots=True, kw_only=True)
class TopicChange:
    """A topic was to be created or deleted."""

    topic: str
    creates: bool
    invoked: int
    completed: int | None = None
    outcome: Outcome = "pending"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something broke."""

    kind: FaultKind
    at: int


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class History:
    """What happened, in order."""

    def __init__(self) -> None:
        self.sends: list[Send] = []
        self.reads: list[Read] = []
        self.ends: list[EndSeen] = []
        self.topic_changes: list[TopicChange] = []
        self.faults: list[Fault] = []
        self._position = 0

    @property
    def operation_count(self) -> int:
        """Operations: records sent, readers begun, ends asked for, topics created or deleted."""
        return len(self.sends) + len(self.reads) + len(self.ends) + len(self.topic_changes)

    def now(self) -> int:
        """A position later than all that was given so far."""
        self._position += 1
        return self._position

    def send(
        self,
        *,
        producer: str,
        topic: str,
        key: bytes | None,
        value: bytes,
        acks: int,
        partition: int | None = None,
        idempotent: bool = False,
    ) -> Send:
        """A send begins."""
        send = Send(
            producer=producer,
            topic=topic,
            key=key,
            value=value,
            acks=acks,
            partition=partition,
            idempotent=idempotent,
            invoked=self.now(),
        )
        self.sends.append(send)
        return send

    def acknowledged(self, send: Send, partition: int, offset: int | None) -> None:
        """It went there; without an offset when nobody told."""
        send.partition, send.offset = partition, offset
        self.over(send, "ok")

    def read(self, *, reader: str, place: Place, start: int, is_bounded: bool) -> Read:
        """A reader begins."""
        read = Read(reader=reader, place=place, start=start, is_bounded=is_bounded, invoked=self.now())
        self.reads.append(read)
        return read

    def saw(self, read: Read, entry: Entry) -> None:
        """A reader got a record."""
        read.seen.append((self.now(), entry))

    def end_seen(self, place: Place, offset: int, *, invoked: int) -> None:
        """Somebody who asked at `invoked` was told where a partition ends."""
        self.ends.append(EndSeen(place=place, offset=offset, invoked=invoked, completed=self.now()))

    def topic_change(self, topic: str, *, creates: bool) -> TopicChange:
        """A topic is to be created or deleted."""
        change = TopicChange(topic=topic, creates=creates, invoked=self.now())
        self.topic_changes.append(change)
        return change

    def over(self, operation: Send | Read | TopicChange, outcome: Outcome) -> None:
        """An operation ended so."""
        operation.outcome = outcome
        operation.completed = self.now()

    def fault(self, kind: FaultKind) -> None:
        """Something breaks, or somebody learns of it."""
        self.faults.append(Fault(kind, self.now()))

    def json_lines(self) -> Iterator[str]:
        """One line an operation or fault, in the order of their beginnings."""
        lines: list[tuple[int, object]] = [(send.invoked, send) for send in self.sends]
        lines += [(read.invoked, read) for read in self.reads]
        lines += [(end.invoked, end) for end in self.ends]
        lines += [(change.invoked, change) for change in self.topic_changes]
        lines += [(fault.at, fault) for fault in self.faults]
        for _, operation in sorted(lines, key=lambda line: line[0]):
            assert is_dataclass(operation)
            assert not isinstance(operation, type)
            yield json.dumps({"what": type(operation).__name__, **asdict(operation)}, default=_printable)


def check(history: History, final: Mapping[Place, Sequence[Entry]]) -> list[Violation]:
    """Every broken promise. `final` holds all partitions that exist at the end, from first to last offset."""
    return _Checker(history, final).run()


class _Checker:
    def __init__(self, history: History, final: Mapping[Place, Sequence[Entry]]) -> None:
        self._history = history
        self._final = final
        self._topics = {place.topic for place in final}
        self._violations: list[Violation] = []
        self._sent = {send.value: send for send in history.sends}
        assert len(self._sent) == len(history.sends), "the values of a history must differ"
        self._fault_times = sorted(fault.at for fault in history.faults)
        self._power_cuts = sorted(fault.at for fault in history.faults if fault.kind == "power cut")
        self._durable = self._durable_over_time()

    def run(self) -> list[Violation]:
        """All rules."""
        for place, entries in self._final.items():
            self._check_contiguous(place, entries)
            self._check_origin(place, entries)
            self._check_duplicates(place, entries)
            self._check_stored_order(place, entries)
        self._check_agreement()
        self._check_acknowledged()
        self._check_order()
        for read in self._history.reads:
            self._check_reader(read)
        for end in self._history.ends:
            self._check_end(end)
        self._check_topics()
        return self._violations

    def _report(self, kind: str, message: str) -> None:
        self._violations.append(Violation(kind, message))

    # What was durable when: (position, everything below this offset is durable)

    def _durable_over_time(self) -> dict[Place, list[tuple[int, int]]]:
        found: dict[Place, list[tuple[int, int]]] = {}
        for send in self._history.sends:
            if send.acks == ACKS_ALL and send.offset is not None and send.place and send.completed is not None:
                found.setdefault(send.place, []).append((send.completed, send.offset + 1))
        for read in self._history.reads:
            found.setdefault(read.place, []).extend((at, entry.offset + 1) for at, entry in read.seen)
        for end in self._history.ends:
            found.setdefault(end.place, []).append((end.completed, end.offset))
        for evidence in found.values():
            evidence.sort()
            highest = 0
            for index, (at, offset) in enumerate(evidence):
                highest = max(highest, offset)
                evidence[index] = (at, highest)
        return found

    def _durable_end(self, place: Place, before: int) -> int:
        evidence = self._durable.get(place, [])
        low, high = 0, len(evidence)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if evidence[middle][0] < before else (low, middle)
        return evidence[low - 1][1] if low else 0

    # The rules

    def _check_contiguous(self, place: Place, entries: Sequence[Entry]) -> None:
        for expected, entry in enumerate(entries):
            if entry.offset != expected:
                self._report("gap", f"{place}: offset {entry.offset} stands where {expected} should")
                return

    def _check_origin(self, place: Place, entries: Sequence[Entry]) -> None:
        for entry in entries:
            send = self._sent.get(entry.value or b"")
            if send is None or send.topic != place.topic or send.key != entry.key:
                self._report("invented", f"{place}: nobody sent {entry}")
            elif send.partition not in (None, place.partition):
                self._report("invented", f"{place}: {entry} was sent to partition {send.partition}")
            elif send.outcome == "fail":
                self._report("raised", f"{place}: {entry} was reported as not written")

    def _check_duplicates(self, place: Place, entries: Sequence[Entry]) -> None:
        first_at: dict[bytes | None, int] = {}
        for entry in entries:
            first = first_at.setdefault(entry.value, entry.offset)
            send = self._sent.get(entry.value or b"")
            if first == entry.offset or send is None:
                continue
            if send.idempotent:
                self._report("duplicate", f"{place}: {entry} stands at {first} too, and its producer is idempotent")
            elif not self._had_reason_to_retry(send):
                self._report("duplicate", f"{place}: {entry} stands at {first} too, and nothing called for a retry")

    def _check_stored_order(self, place: Place, entries: Sequence[Entry]) -> None:
        last: dict[str, Send] = {}
        for entry in entries:
            send = self._sent.get(entry.value or b"")
            if send is None or not send.idempotent:
                continue
            before = last.get(send.producer, send)
            if before.invoked > send.invoked:
                self._report("disorder", f"{place}: {entry} stands behind {_short(before.value)}, and was sent before")
            last[send.producer] = send

    def _had_reason_to_retry(self, send: Send) -> bool:
        return any(send.invoked < at and (send.completed is None or at < send.completed) for at in self._fault_times)

    def _check_agreement(self) -> None:
        seen: dict[tuple[Place, int], tuple[Entry, str]] = {}
        looks = [(read.place, entry, read.reader) for read in self._history.reads for _, entry in read.seen]
        looks += [(place, entry, "the last look") for place, entries in self._final.items() for entry in entries]
        for place, entry, who in looks:
            first, other = seen.setdefault((place, entry.offset), (entry, who))
            if first != entry:
                self._report("taken back", f"{place}: {other} saw {first}, {who} saw {entry}")
        for (place, offset), (entry, who) in seen.items():
            if place in self._final and offset >= _end_of(self._final[place]):
                self._report("taken back", f"{place}: {who} saw {entry}, at the end there is nothing")

    def _check_acknowledged(self) -> None:
        for send in self._history.sends:
            place = send.place
            if send.offset is None or place is None or place not in self._final:
                continue
            entries = self._final[place]
            index = send.offset - (entries[0].offset if entries else 0)
            if 0 <= index < len(entries) and (entries[index].value, entries[index].key) == (send.value, send.key):
                continue
            if send.acks != ACKS_ALL and self._may_have_lost_power(send, place):
                continue
            found = entries[index] if 0 <= index < len(entries) else "nothing"
            sent = Entry(send.offset, send.key, send.value)
            self._report("lost", f"{place}: acks={send.acks} was given for {sent}, there is {found}")

    def _may_have_lost_power(self, send: Send, place: Place) -> bool:
        assert send.completed is not None
        assert send.offset is not None
        # An acknowledgement may be under way when the power fails: what counts is the send's beginning.
        cuts = [at for at in self._power_cuts if at > send.invoked]
        return bool(cuts) and self._durable_end(place, cuts[0]) <= send.offset

    def _check_order(self) -> None:
        last: dict[tuple[str, Place], tuple[Send, int]] = {}
        for send in self._history.sends:
            if send.offset is None or send.place is None:
                continue
            before, offset = last.get((send.producer, send.place), (send, -1))
            if offset >= send.offset and not self._was_voided(before, send):
                what = f"{send.producer} sent {_short(before.value)} before {_short(send.value)}"
                self._report("disorder", f"{send.place}: {what}, acknowledged at {offset} and {send.offset}")
            last[send.producer, send.place] = send, send.offset

    def _was_voided(self, before: Send, after: Send) -> bool:
        """An acks=1 record that a power cut took along gives its offset back."""
        assert before.place is not None
        return (
            before.acks != ACKS_ALL
            and after.completed is not None
            and any(before.invoked < at < after.completed for at in self._power_cuts)
            and self._may_have_lost_power(before, before.place)
        )

    def _check_reader(self, read: Read) -> None:
        expected = read.start
        for _, entry in read.seen:
            if entry.offset != expected:
                self._report(
                    "skipped", f"{read.reader} at {read.place}: got offset {entry.offset} instead of {expected}"
                )
                return
            expected += 1
        if read.is_bounded and read.outcome == "ok":
            durable = self._durable_end(read.place, read.invoked)
            if expected < durable:
                self._report("unseen", f"{read.reader} read {read.place} to {expected}; {durable} was durable before")

    def _check_end(self, end: EndSeen) -> None:
        if end.place in self._final and end.offset > _end_of(self._final[end.place]):
            self._report("receded", f"{end.place} ended at {end.offset}, now at {_end_of(self._final[end.place])}")
        durable = self._durable_end(end.place, end.invoked)
        if end.offset < durable:
            self._report(
                "receded", f"{end.place} was said to end at {end.offset} when {durable} had been durable before"
            )

    def _check_topics(self) -> None:
        last: dict[str, TopicChange] = {}
        for change in self._history.topic_changes:
            last[change.topic] = change
        for topic, change in last.items():
            is_there = topic in self._topics
            if change.outcome == "ok" and change.creates != is_there:
                self._report(
                    "topic", f"{topic} was {'created' if change.creates else 'deleted'}, but is {_there(is_there)}"
                )
        for topic in self._topics - set(last):
            self._report("topic", f"{topic} is there, but nobody created it")


def _end_of(entries: Sequence[Entry]) -> int:
    return entries[-1].offset + 1 if entries else 0


def _short(value: bytes | None) -> str:
    return repr(value) if value is None or len(value) <= 40 else f"{value[:40]!r}… ({len(value)} bytes)"


def _there(is_there: bool) -> str:
    return "there" if is_there else "not there"


def _printable(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
