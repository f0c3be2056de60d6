"""A reader that keeps to KIP-227, as a client library does: the model for what a fetch session has to tell."""

from uuid import UUID

from support.builders import values_of
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
    PartitionData,
)

Name = tuple[str, UUID, int]
"""A partition, as the client names it: by the topic's name or by its id."""


class SessionClient:
    """Names what changed, and believes the rest to be as it was told last."""

    def __init__(self, *, by_id: bool) -> None:
        self.by_id = by_id
        self.version = 13 if by_id else 12
        self.wanted: dict[Name, int] = {}
        """What it wants to read, and from where."""
        self.view: dict[Name, PartitionData] = {}
        """What it believes of each."""
        self.session_id = 0
        self.epoch = 0
        self.sent: dict[Name, int] = {}
        """What the broker knows of its wishes."""

    def request(self, *, max_bytes: int, max_wait_ms: int) -> FetchRequest:
        """The next one of the session; a full one if there is none."""
        known = {} if self.epoch == 0 else self.sent
        named = {name: offset for name, offset in self.wanted.items() if known.get(name) != offset}
        forgotten = [name for name in known if name not in self.wanted]
        self.sent = dict(self.wanted)
        return FetchRequest(
            session_id=self.session_id,
            session_epoch=self.epoch,
            max_wait_ms=max_wait_ms,
            min_bytes=1,
            max_bytes=max_bytes,
            topics=topics_of(named),
            forgotten_topics_data=tuple(
                ForgottenTopic(topic=topic, topic_id=topic_id, partitions=(index,))
                for topic, topic_id, index in forgotten
            ),
        )

    def take(self, response: FetchResponse) -> dict[Name, PartitionData] | None:
        """What came; None if the session is lost and the request has to be made again, in full."""
        if response.error_code:
            if response.error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND:
                self.session_id = 0
            self.epoch = 0
            return None
        came = by_name(response)
        if self.epoch == 0:
            assert came.keys() == self.sent.keys(), "a full fetch is answered in full"
            self.view = {}
        assert came.keys() <= self.sent.keys(), "an answer about what was not asked for"
        self.view = {name: data for name, data in {**self.view, **came}.items() if name in self.sent}
        self.session_id = response.session_id
        self.epoch = 0 if response.session_id == 0 else self.epoch + 1
        for name, data in came.items():
            self.wanted[name] += len(values_of(data.records or b""))
        return came


def topics_of(offsets: dict[Name, int]) -> tuple[FetchTopic, ...]:
    """How a request names partitions and the offsets to read from."""
    return tuple(
        FetchTopic(
            topic=topic,
            topic_id=topic_id,
            partitions=(FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=1 << 20),),
        )
        for (topic, topic_id, index), offset in offsets.items()
    )


def by_name(response: FetchResponse) -> dict[Name, PartitionData]:
    """What a response tells, by partition."""
    named = [
        ((topic.topic, topic.topic_id, data.partition_index), data)
        for topic in response.responses
        for data in topic.partitions
    ]
    assert len(dict(named)) == len(named), "a partition is answered once"
    return dict(named)


def standing(data: PartitionData) -> tuple[int, ...]:
    """What is told of a partition beside its records."""
    return data.error_code, data.high_watermark, data.last_stable_offset, data.log_start_offset
