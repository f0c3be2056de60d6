"""Offsets of groups in a file, as kafka-consumer-groups.sh exports and imports them: CSV without a heading.

    topic,partition,offset
    group,topic,partition,offset

The second form is for files that hold several groups, of which one is wanted.
"""

import csv
import io
from collections.abc import Mapping

from ..client import TopicPartition

OFFSET_MAX = (1 << 63) - 1
PARTITION_MAX = (1 << 31) - 1


def parse_offsets(text: str, group_id: str) -> dict[TopicPartition, int]:
    """The group's offsets. Raises ValueError with words for the user."""
    found: dict[TopicPartition, int] = {}
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)  # spreadsheets put that in front
    try:
        for cells in reader:
            if not cells or (reader.line_num == 1 and cells[-2:] == ["partition", "offset"]):
                continue
            if len(cells) not in (3, 4):
                raise ValueError(f"line {reader.line_num} is not topic,partition,offset")
            *group, topic, partition, offset = (cell.strip() for cell in cells)
            place = TopicPartition(topic, _number(partition, PARTITION_MAX, reader.line_num))
            value = _number(offset, OFFSET_MAX, reader.line_num)
            if group and group != [group_id]:
                continue
            if found.setdefault(place, value) != value:
                raise ValueError(
                    f"line {reader.line_num} gives {topic}[{place.partition}] another offset than a line before"
                )
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    return found


def render_offsets(offsets: Mapping[tuple[str, int], int]) -> str:
    """The offsets of one group."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([*place, offset] for place, offset in offsets.items())
    return out.getvalue()


def _number(text: str, maximum: int, line: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= maximum):
        raise ValueError(f"line {line}: {text!r} is no number that can stand here")
    return int(text)
