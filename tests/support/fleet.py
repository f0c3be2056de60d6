"""Groups of real clients, each member a process: started, stopped, killed, frozen; what they do stands in journals."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from support.group_history import Assigned, Committed, Event, Read, events_of

TESTS = Path(__file__).resolve().parents[1]
PATIENCE_S = 120.0
"""For anything that has to happen at all, on a busy machine."""
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Kind:
    """A client, and the program that lets it take part in a group."""

    name: str
    program: tuple[str, ...]
    words: tuple[str, ...] = ()
    members: int = 2
    """At the beginning."""

    def command(self, server: str, group: str, topic: str, journal: Path) -> list[str]:
        """That starts a member."""
        return [*self.program, server, group, topic, str(journal), *self.words]


def python(name: str) -> tuple[str, ...]:
    """A member in Python."""
    return (sys.executable, "-m", f"support.members.{name}")


CONFLUENT = Kind("confluent", python("confluent"), members=4)
CONFLUENT_COOPERATIVE = Kind("confluent-cooperative", python("confluent"), ("cooperative-sticky",))
CONFLUENT_KIP_848 = Kind("confluent-kip-848", python("confluent"), ("consumer",))
AIOKAFKA = Kind("aiokafka", python("aio"))
KAFKA_PYTHON = Kind("kafka-python", python("pure_python"))
KAFKA_PYTHON_COOPERATIVE = Kind("kafka-python-cooperative", python("pure_python"), ("cooperative-sticky",))
KAFKAJS = Kind("kafkajs", ("node", str(TESTS / "compat" / "node" / "member.mjs")), members=1)
THIN = Kind("tidelog", python("thin"), members=1)


def eventually(what: str, is_so: Callable[[], bool], details: Callable[[], object] = lambda: "") -> None:
    """Wait for it, with patience; nothing is decided by how long it takes."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"never came: {what} {details()}"
        time.sleep(LOOK_S)


@dataclass
class Member:
    """One process."""

    name: str
    journal: Path
    process: "subprocess.Popen[bytes]"
    is_frozen: bool = False
    _events: list[Event] = field(default_factory=list)
    _size: int = 0

    def events(self) -> list[Event]:
        """What it has done so far."""
        size = self.journal.stat().st_size if self.journal.exists() else 0
        if size != self._size:
            self._size = size
            self._events = events_of(self.journal)
        return self._events

    @property
    def holds(self) -> frozenset[int]:
        """The partitions that it thinks it has."""
        return next((one.partitions for one in reversed(self.events()) if isinstance(one, Assigned)), frozenset())

    @property
    def generation(self) -> int:
        """The last one that gave it something, or took something away."""
        return next((one.generation for one in reversed(self.events()) if isinstance(one, Assigned)), -1)

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self.process.poll() is None

    def said(self) -> str:
        """Its stderr."""
        return self.journal.with_suffix(".err").read_text(errors="replace")


class Group:
    """One group of members of one kind, that read one topic."""

    def __init__(self, kind: Kind, server: str, topic: str, directory: Path, *, partitions: int) -> None:
        self.kind = kind
        self._server = server
        self._topic = topic
        self._directory = directory
        self._partitions = frozenset(range(partitions))
        self._names = count(1)
        self.members: list[Member] = []
        """Those that are to take part now."""
        self.all: list[Member] = []

    def add(self) -> Member:
        """Start one."""
        name = f"{self.kind.name}-{next(self._names)}"
        journal = self._directory / f"{name}.journal"
        command = self.kind.command(self._server, f"group-{self.kind.name}", self._topic, journal)
        with journal.with_suffix(".err").open("wb") as errors:
            process = subprocess.Popen(command, stdout=errors, stderr=errors, cwd=TESTS)
        member = Member(name, journal, process)
        self.members.append(member)
        self.all.append(member)
        return member

    def stop(self, member: Member) -> None:
        """Let it leave the group and end."""
        member.process.send_signal(signal.SIGTERM)
        self.members.remove(member)
        eventually(f"{member.name} ends", lambda: not member.is_running, member.said)
        assert member.process.returncode == 0, f"{member.name}: {member.said()}"

    def kill(self, member: Member) -> None:
        """kill -9."""
        member.process.kill()
        member.process.wait()
        self.members.remove(member)

    def freeze(self, member: Member) -> None:
        """SIGSTOP."""
        member.process.send_signal(signal.SIGSTOP)
        member.is_frozen = True

    def thaw(self, member: Member) -> None:
        """SIGCONT."""
        member.process.send_signal(signal.SIGCONT)
        member.is_frozen = False

    def await_given(self, member: Member) -> None:
        """Until it holds something."""
        self._await(f"{member.name} is given something", lambda: bool(member.holds))

    def await_back(self, member: Member, generation: int) -> None:
        """Until it has noticed that there are later generations."""
        self._await(f"{member.name} is back", lambda: member.generation > generation)

    def await_settled(self) -> None:
        """Until those that are there and awake have all partitions, each one of them."""
        self._await("settled", self._is_settled)

    def await_commits_beyond(self, generation: int, partitions: frozenset[int]) -> None:
        """Until in later generations something of one of these partitions was committed."""

        def is_so() -> bool:
            return any(
                isinstance(event, Committed) and event.generation > generation and event.partition in partitions
                for member in self.members
                for event in member.events()
            )

        self._await("going on without the frozen one", is_so)

    def await_all_committed(self, ends: Sequence[int]) -> None:
        """Until everything was read and committed."""
        self._await("everything committed", lambda: self.committed() == list(ends))

    def committed(self) -> list[int]:
        """How far the group has come, by partition."""
        at = dict.fromkeys(self._partitions, 0)
        for member in self.all:
            for event in member.events():
                if isinstance(event, Committed):
                    at[event.partition] = max(at[event.partition], event.offset)
        return [at[partition] for partition in sorted(at)]

    def histories(self) -> dict[str, list[Event]]:
        """For the judge."""
        return {member.name: member.events() for member in self.all}

    def generations(self) -> set[int]:
        """In which someone read something."""
        return {one.generation for events in self.histories().values() for one in events if isinstance(one, Read)}

    def close(self) -> None:
        """End whatever is left."""
        for member in self.all:
            member.process.kill()
            member.process.wait()

    def show(self) -> str:
        """For who looks at a failure."""
        return "\n".join(self._shown())

    def _shown(self) -> Iterator[str]:
        yield f"committed {self.committed()}"
        for member in self.all:
            state = "frozen" if member.is_frozen else "runs" if member.is_running else member.process.returncode
            place = "" if member in self.members else " (gone)"
            yield f"{member.name}{place}: {state}, generation {member.generation}, holds {sorted(member.holds)}"
            yield from member.said().splitlines()[-5:]

    def _await(self, what: str, is_so: Callable[[], bool]) -> None:
        def is_so_and_all_run() -> bool:
            for member in self.members:
                assert member.is_running, f"{member.name} ended by itself: {member.said()}"
            return is_so()

        eventually(f"{self.kind.name}: {what}", is_so_and_all_run, self.show)

    def _is_settled(self) -> bool:
        awake = [member.holds for member in self.members if not member.is_frozen]
        return sum(map(len, awake)) == len(self._partitions) and frozenset().union(*awake) == self._partitions
