"""Every file that a page of the documentation names exists, and defines the names by which a page links to it."""

import re
from pathlib import Path

import pytest

from tests import ROOT
from tests.line_links import PAGE, WALK, with_line_numbers

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "k8s").rglob("*.md")])
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:benchmarks|data_prep|docker|docs|k8s|pipeline|scripts|tests)/[\w./-]+)`")
WRITTEN_BY_THE_READER = re.compile(r"/(NAME|test_softmatch)\.py$")
NAMES = re.compile(r"`(\w+(?:\.\w+)?)`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_dead_link(page: Path) -> None:
    text = CODE_BLOCK.sub("", page.read_text())
    links = [(title, link) for title, link in LINK.findall(text) if "://" not in link]
    assert not [link for _, link in links if not _leads_somewhere(page, link)]
    assert not [name for title, link in links for name in _names(title, link) if not _defines(page, link, name)]
    assert not [
        path for path in PATH.findall(text) if not (ROOT / path).exists() and not WRITTEN_BY_THE_READER.search(path)
    ]


def test_the_walk_through_a_training_step_links_to_the_lines_that_define_its_names() -> None:
    page = PAGE.read_text()
    (walk,) = WALK.findall(page)
    assert "train_step`](../pipeline/training/trainer.py#L" in walk
    assert page == with_line_numbers(page), "run python -m tests.line_links"


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or target.suffix == ".py" or anchor in _anchors(target))


def _names(title: str, link: str) -> list[str]:
    """Return the names of code by which a page links to a source file: `function` or `Class.method`."""
    return NAMES.findall(title) if link.partition("#")[0].endswith(".py") else []


def _defines(page: Path, link: str, name: str) -> bool:
    text = (page.parent / link.partition("#")[0]).read_text()
    return all(re.search(rf"^ *(def|class) {part}\b|^{part}\b.* = ", text, re.MULTILINE) for part in name.split("."))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(page.read_text())}
