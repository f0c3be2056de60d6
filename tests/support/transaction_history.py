"""What transactional producers and their readers did and saw, and whether a log broker may have behaved so.

A pure judge, after the error classes of Jepsen's workload for Kafka. Each transaction appends values, all of them
different, to lists that are partitions; it may poll before, and may commit how far it has polled. Readers poll under
read_committed. Times are positions in any clock that all who take part share: a counter in a simulation, the monotonic
one between processes. What is found at the end, after all has been drained, is the other half of the evidence.

An outcome says what is certain: `committed` and `aborted` were acknowledged, or a commit was never asked for; of all
else it is `unknown`, and then every record of the transaction must be visible, or none.

Kafka promises no order between transactions that write to the same partitions: cycles of write-write dependencies are
allowed (G0), and so are those that need them. A cycle is searched for among what was read from another transaction, and
the order in which one producer ran its own (G1c).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Literal

from support.history import Entry, Place, Violation

Outcome = Literal["committed", "aborted", "unknown"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that a transaction appended."""

    place: Place
    value: bytes
    offset: int | None = None
    """Where it was acknowledged."""


@dataclass(frozen=True, slots=True)
class Polled:
    """A record that a reader was given, and when."""

    at: int
    place: Place
    offset: int
    value: bytes


@dataclass(slots=True, kw_only=True, eq=False)
class Transaction:
    """One attempt: what it did, and how it ended as far as its producer knows."""

    producer: str
    """The transactional id."""
    instance: int
    """Which of the producers of that id, which fence one another: 0, 1, 2, …"""
    began: int
    sent: list[Sent] = field(default_factory=list)
    polled: list[Polled] = field(default_factory=list)
    offsets: dict[Place, int] = field(default_factory=dict)
    """What it wanted its group to have consumed."""
    commit_asked: int | None = None
    """When it first asked for its commit; None if it never did."""
    ended: int | None = None
    outcome: Outcome = "unknown"

    def __str__(self) -> str:
        return f"{self.producer}/{self.instance} at {self.began}"


@dataclass(frozen=True, slots=True)
class Start:
    """A producer of a transactional id has been initialised: those before it are fenced from then on."""

    producer: str
    instance: int
    at: int


@dataclass(slots=True)
class TransactionHistory:
    """What happened, as those who took part wrote it down."""

    transactions: list[Transaction] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    readers: dict[str, list[Polled]] = field(default_factory=dict)
    """Readers under read_committed that were assigned partitions once, and never sought."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is in the end, when no transaction is open any more."""

    visible: Mapping[Place, Sequence[Entry]]
    """All that read_committed shows, from the first offset to the end."""
    offsets: Mapping[Place, int] = field(default_factory=dict)
    """How far the group of those who poll has come; a partition without is left out."""


def violations(history: TransactionHistory, found: Found) -> list[Violation]:
    """Everything that may not be, and is."""
    evidence = _Evidence(history, found)
    return [Violation(kind, text) for kind, rule in RULES.items() for text in rule(evidence)]


class _Evidence:
    """The history, with what several rules look up."""

    def __init__(self, history: TransactionHistory, found: Found) -> None:
        self.history, self.found = history, found
        self.writer = {sent.value: one for one in history.transactions for sent in one.sent}
        assert len(self.writer) == sum(len(one.sent) for one in history.transactions), "values must differ"
        self.polls = [
            *((f"reader {name}", poll) for name, polls in history.readers.items() for poll in polls),
            *((f"transaction {one}", poll) for one in history.transactions for poll in one.polled),
        ]
        self.drained = [
            (place, entry.offset, entry.value or b"") for place, entries in found.visible.items() for entry in entries
        ]
        """(place, offset, value)"""
        self.there = {value for _, _, value in self.drained}
        """What is visible in the end."""
        self.shown = {*self.there, *(poll.value for _, poll in self.polls)}
        """What anybody saw at any time."""

    def seen(self) -> Iterator[tuple[str, Place, int, bytes]]:
        """Each look of anybody at what is committed."""
        for who, poll in self.polls:
            yield who, poll.place, poll.offset, poll.value
        for place, offset, value in self.drained:
            yield "the last look", place, offset, value

    def is_committed(self, transaction: Transaction) -> bool:
        """It was said so, or some of it could be seen."""
        return transaction.outcome == "committed" or any(sent.value in self.shown for sent in transaction.sent)

    def missing(self, transaction: Transaction) -> list[Sent]:
        """What of it is not visible in the end."""
        return [sent for sent in transaction.sent if sent.value not in self.there]


def _invented(evidence: _Evidence) -> Iterator[str]:
    """What is seen was sent there."""
    sent_to = {sent.value: sent.place for one in evidence.history.transactions for sent in one.sent}
    for who, place, offset, value in evidence.seen():
        if sent_to.get(value) != place:
            yield f"{who}: nobody sent {value!r}, which is in {place} at {offset}"


def _aborted_read(evidence: _Evidence) -> Iterator[str]:
    """G1a: what was aborted is not seen."""
    for who, place, offset, value in evidence.seen():
        writer = evidence.writer.get(value)
        if writer is not None and writer.outcome == "aborted":
            yield f"{who}: {value!r} in {place} at {offset} is of {writer}, which was aborted"


def _precommitted_read(evidence: _Evidence) -> Iterator[str]:
    """What is seen was asked to be committed before."""
    for who, poll in evidence.polls:
        writer = evidence.writer.get(poll.value)
        if writer is not None and (writer.commit_asked is None or poll.at < writer.commit_asked):
            yield f"{who}: {poll.value!r} was given at {poll.at}, before {writer} asked for its commit"
    for place, offset, value in evidence.drained:
        writer = evidence.writer.get(value)
        if writer is not None and writer.commit_asked is None:
            yield f"{value!r} is visible in {place} at {offset}, and {writer} never asked for its commit"


def _inconsistent_offsets(evidence: _Evidence) -> Iterator[str]:
    """At an offset there is one value, for the producer who was told of it as for everybody who looks."""
    known: dict[tuple[Place, int], tuple[str, bytes]] = {}
    looks = [
        *(
            (f"transaction {one}", sent.place, sent.offset, sent.value)
            for one in evidence.history.transactions
            for sent in one.sent
            if sent.offset is not None
        ),
        *evidence.seen(),
    ]
    for who, place, offset, value in looks:
        first, other = known.setdefault((place, offset), (who, value))
        if other != value:
            yield f"{place} at {offset}: {other!r} for {first}, {value!r} for {who}"


def _duplicate(evidence: _Evidence) -> Iterator[str]:
    """A value is at one offset."""
    at: dict[bytes, tuple[Place, int]] = {}
    for who, place, offset, value in evidence.seen():
        first = at.setdefault(value, (place, offset))
        if first != (place, offset):
            yield f"{who}: {value!r} is in {place} at {offset}, and in {first[0]} at {first[1]}"


def _lost(evidence: _Evidence) -> Iterator[str]:
    """What was acknowledged as committed is there in the end, up to where anything is."""
    for one in evidence.history.transactions:
        if one.outcome == "committed":
            yield from (
                f"{sent.value!r} of {one} should be in {sent.place} at {sent.offset}"
                for sent in evidence.missing(one)
                if _is_passed(evidence, sent)
            )


def _unseen(evidence: _Evidence) -> Iterator[str]:
    """And behind it: a reader comes to the end, nothing holds it up for ever."""
    for one in evidence.history.transactions:
        if one.outcome == "committed":
            yield from (
                f"{sent.value!r} of {one} never came to be seen in {sent.place}"
                for sent in evidence.missing(one)
                if not _is_passed(evidence, sent)
            )


def _torn(evidence: _Evidence) -> Iterator[str]:
    """Of a transaction whose end nobody knows everything is visible, or nothing."""
    for one in evidence.history.transactions:
        missing = evidence.missing(one)
        if one.outcome == "unknown" and missing and evidence.is_committed(one):
            yield f"{one}: {len(one.sent) - len(missing)} of {len(one.sent)} records are visible"


def _torn_offsets(evidence: _Evidence) -> Iterator[str]:
    """The group's offsets are those of the transactions that were committed, and of no others."""
    certain: defaultdict[Place, int] = defaultdict(int)
    possible: defaultdict[Place, set[int]] = defaultdict(set)
    for one in evidence.history.transactions:
        is_committed = evidence.is_committed(one)
        # Of one that has sent records, and of which none can be seen, the offsets do not hold either.
        may_be = is_committed or (one.outcome == "unknown" and one.commit_asked is not None and not one.sent)
        for place, offset in one.offsets.items():
            if is_committed:
                certain[place] = max(certain[place], offset)
            if may_be:
                possible[place].add(offset)
    for place in {*certain, *possible, *evidence.found.offsets}:
        offset = evidence.found.offsets.get(place, 0)
        if offset < certain[place]:
            yield f"{place}: {certain[place]} was committed with its records, and the group is at {offset}"
        elif offset and offset not in possible[place]:
            yield f"{place}: the group is at {offset}, which no transaction has committed"


def _nonmonotonic_send(evidence: _Evidence) -> Iterator[str]:
    """What one producer sends to a partition lies there in that order."""
    last: dict[tuple[str, int, Place], Sent] = {}
    for one in evidence.history.transactions:
        for sent in one.sent:
            if sent.offset is None:
                continue
            key = (one.producer, one.instance, sent.place)
            before = last.get(key)
            if before is not None and before.offset is not None and before.offset >= sent.offset:
                yield f"{one}: {before.value!r} at {before.offset} and then {sent.value!r} at {sent.offset}"
            last[key] = sent


def _nonmonotonic_poll(evidence: _Evidence) -> Iterator[str]:
    """A reader goes forward."""
    for name, before, poll in _steps(evidence):
        if poll.offset <= before.offset:
            yield f"reader {name}: {before.offset} and then {poll.offset} of {poll.place}"


def _poll_skip(evidence: _Evidence) -> Iterator[str]:
    """And leaves out nothing of what was committed."""
    offsets = {place: [entry.offset for entry in entries] for place, entries in evidence.found.visible.items()}
    for name, before, poll in _steps(evidence):
        left_out = [offset for offset in offsets.get(poll.place, ()) if before.offset < offset < poll.offset]
        if left_out:
            yield f"reader {name}: {before.offset} and then {poll.offset} of {poll.place}, without {left_out[:3]}"


def _zombie(evidence: _Evidence) -> Iterator[str]:
    """Nothing that a producer asks for once another of its id has started is committed."""
    for one in evidence.history.transactions:
        later = [
            start.at
            for start in evidence.history.starts
            if start.producer == one.producer and start.instance > one.instance
        ]
        fenced = min(later, default=None)
        if one.commit_asked is None or fenced is None or one.commit_asked < fenced:
            continue
        if evidence.is_committed(one):
            yield f"{one} asked for its commit at {one.commit_asked}, fenced since {fenced}, and got it"


def _cycle(evidence: _Evidence) -> Iterator[str]:
    """G1c: no transaction reads, through others, what comes from itself or from later ones of its own producer."""
    transactions = evidence.history.transactions
    before: dict[Transaction, set[Transaction]] = {one: set() for one in transactions}
    own: defaultdict[tuple[str, int], list[Transaction]] = defaultdict(list)
    for one in transactions:
        own[one.producer, one.instance].append(one)
        before[one] |= {evidence.writer[poll.value] for poll in one.polled if poll.value in evidence.writer} - {one}
    for row in own.values():
        for first, second in pairwise(sorted(row, key=lambda one: one.began)):
            before[second].add(first)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as found:
        yield " → ".join(map(str, found.args[1]))


def _is_passed(evidence: _Evidence, sent: Sent) -> bool:
    entries = evidence.found.visible.get(sent.place, ())
    return sent.offset is not None and bool(entries) and entries[-1].offset > sent.offset


def _steps(evidence: _Evidence) -> Iterator[tuple[str, Polled, Polled]]:
    """Each two polls of a reader, of one partition, that follow each other."""
    for name, polls in evidence.history.readers.items():
        last: dict[Place, Polled] = {}
        for poll in polls:
            if poll.place in last:
                yield name, last[poll.place], poll
            last[poll.place] = poll


RULES: Mapping[str, Callable[[_Evidence], Iterator[str]]] = {
    "invented": _invented,
    "aborted read": _aborted_read,
    "precommitted read": _precommitted_read,
    "inconsistent offsets": _inconsistent_offsets,
    "duplicate": _duplicate,
    "lost write": _lost,
    "unseen": _unseen,
    "torn transaction": _torn,
    "torn offsets": _torn_offsets,
    "nonmonotonic send": _nonmonotonic_send,
    "nonmonotonic poll": _nonmonotonic_poll,
    "poll skip": _poll_skip,
    "zombie": _zombie,
    "cycle": _cycle,
}
