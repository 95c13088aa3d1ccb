"""The page of figures says what the kept results say."""

from pathlib import Path

from benchmarks.page import PAGE, page


def test_the_page_is_made_of_the_results() -> None:
    assert (Path(__file__).parents[2] / PAGE).read_text() == page()
