"""Finds records by time, for ListOffsets (L-6): exact to the record, so batches are decoded, compressed ones too."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..protocol.batch import BatchHeader, ProtocolError
from ..protocol.records import RECORDS_DECODED_MAX, credible_size, iterate_times
from .segment import Segment
from .time_index import NO_TIMESTAMP, TimeEntry


@dataclass(frozen=True, slots=True)
class TimestampOffset:
    """A record found by its time."""

    timestamp: int
    offset: int
    leader_epoch: int


def find_timestamp(
    segments: Sequence[Segment], timestamp_ms: int, *, start_offset: int, up_to: int
) -> TimestampOffset | None:
    """The first record of at least that time, at or behind `start_offset` and below `up_to`; None if there is none."""
    for segment in segments:
        if segment.next_offset > start_offset and segment.greatest.timestamp >= timestamp_ms:
            entry = segment.time_entry(lambda times: times.before_time(timestamp_ms))
            position = segment.locate(max(entry.last_offset, start_offset)).position
            for at, header in segment.headers(position, checked=True):
                if header.last_offset >= up_to:
                    return None
                if header.max_timestamp >= timestamp_ms:
                    found = _in_batch(header, segment.batch_at(at), timestamp_ms, start_offset)
                    if found is not None:
                        return found
    return None


def find_max_timestamp(segments: Sequence[Segment], *, start_offset: int, up_to: int) -> TimestampOffset | None:
    """The first record below `up_to` that has the greatest time of all of them; None if none of them has a time."""
    best: tuple[int, Segment] | None = None
    for segment in segments:
        if segment.next_offset <= start_offset:
            continue
        greatest = _greatest_below(segment, up_to).timestamp
        if greatest > NO_TIMESTAMP and (best is None or greatest > best[0]):
            best = greatest, segment
    if best is None:
        return None
    timestamp, segment = best
    return find_timestamp([segment], timestamp, start_offset=start_offset, up_to=up_to)


def _greatest_below(segment: Segment, up_to: int) -> TimeEntry:
    """The greatest time of the segment's batches that end below `up_to`, and the first batch that has it."""
    greatest = segment.greatest
    if greatest.last_offset < up_to and segment.next_offset <= up_to:
        return greatest
    # Only a part of the segment counts: what the index knows of it, and what came after the index's last word.
    greatest = segment.time_entry(lambda times: times.before_offset(up_to))
    position = segment.locate(max(greatest.last_offset, segment.base_offset)).position
    for _, header in segment.headers(position, checked=True):
        if header.last_offset >= up_to:
            break
        if header.max_timestamp > greatest.timestamp:
            greatest = TimeEntry(header.max_timestamp, header.last_offset)
    return greatest


def _in_batch(header: BatchHeader, batch: bytes, timestamp_ms: int, start_offset: int) -> TimestampOffset | None:
    """The first record of the batch that is late enough; of one with very many records, the first of all."""
    if header.record_count > RECORDS_DECODED_MAX:
        return _whole_batch(header, start_offset)
    try:
        for offset, timestamp in iterate_times(batch, inflated_size_max=credible_size(batch)):
            if timestamp >= timestamp_ms and offset >= start_offset:
                return TimestampOffset(timestamp, offset, header.leader_epoch)
    except ProtocolError:
        # A producer lied inside a batch whose checksum holds, or packed it absurdly well. Its readers start with the
        # batch and see for themselves.
        return _whole_batch(header, start_offset)
    return None


def _whole_batch(header: BatchHeader, start_offset: int) -> TimestampOffset:
    return TimestampOffset(header.max_timestamp, max(header.base_offset, start_offset), header.leader_epoch)
