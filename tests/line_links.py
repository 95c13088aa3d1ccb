"""``python -m tests.line_links``: renew the line numbers in the links of docs/architecture.md.

The walk through a training step links to the line where each name is defined; ``test_links.py`` compares the numbers.
"""

import ast
import re
from pathlib import Path
from typing import Any

from tests import ROOT

PAGE = ROOT / "docs" / "architecture.md"
WALK = re.compile(r"^## One training step\n.*?(?=^## )", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\[`([\w.]+)`\]\(([^)\s#]+\.py))(?:#L\d+)?\)")


def with_line_numbers(page: str) -> str:
    """Return the text of the page with the current line number in each link of the walk."""
    return WALK.sub(lambda walk: LINK.sub(_with_line_number, walk[0]), page)


def _with_line_number(link: re.Match[str]) -> str:
    return f"{link[1]}#L{line_of(PAGE.parent / link[3], link[2])})"


def line_of(source: Path, name: str) -> int:
    """Return the line that defines ``function``, ``Class`` or ``Class.method``. Raises KeyError if none does."""
    node: Any = ast.parse(source.read_text())
    for part in name.split("."):
        node = {child.name: child for child in ast.iter_child_nodes(node) if hasattr(child, "name")}[part]
    return int(node.lineno)


if __name__ == "__main__":
    PAGE.write_text(with_line_numbers(PAGE.read_text()))
