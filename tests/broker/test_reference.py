"""The generated pages: everything declared is on them, in tables that Markdown understands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tidelog.broker.config import BROKER_SETTINGS, KEYS
from tidelog.broker.group_config import GROUP_SETTINGS
from tidelog.broker.kafka_settings import BROKER_NOT_BUILT
from tidelog.broker.reference import PAGES, configuration_page, main, metrics_page
from tidelog.storage.config import TOPIC_NOT_BUILT, TOPIC_SETTINGS


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(page: Callable[[], str]) -> None:
    width = 0
    for line in page().splitlines():
        cells = line.replace("\\|", "").count("|") - 1
        if not line.startswith("|"):
            width = 0
        elif not width:
            width = cells
        else:
            assert cells == width, line


@pytest.mark.parametrize(
    "name", [*KEYS, *(one.name for one in TOPIC_SETTINGS.values()), *TOPIC_NOT_BUILT, *BROKER_NOT_BUILT]
)
def test_every_setting_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in configuration_page()


def test_defaults_are_shown_in_both_forms() -> None:
    page = configuration_page()
    assert "`1073741824` (1 GiB)" in page
    assert "`604800000` (7 days)" in page
    assert "`1000` (1 second)" in page
    assert "`9223372036854775807` (never)" in page
    assert "| `1048588` |" in page


def test_the_prose_of_the_tables_is_on_the_pages() -> None:
    for one in (*BROKER_SETTINGS.values(), *GROUP_SETTINGS.values()):
        assert one.text in configuration_page()
    assert "How long one flush of one log to the disk took" in metrics_page()


def test_both_pages_are_written_into_the_directory(tmp_path: Path) -> None:
    main(str(tmp_path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: page() for name, page in PAGES.items()
    }
