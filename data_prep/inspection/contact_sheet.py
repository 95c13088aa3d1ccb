"""The contact sheet of a prepared set: a row for each class, with columns for the splits, on one page or on several."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.dataset.manifest import Manifest
from data_prep.images.codecs import Values
from data_prep.inspection.fonts import find_face, fonts_of, shorten
from data_prep.inspection.samples import first_samples

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

COLUMNS = {"labeled": 4, "unlabeled": 4, "val": 2, "test": 2}
"""The number of images of each class by split."""
UNKNOWN = "(unknown)"
"""The name of the row of unlabeled images whose class nobody knows."""
LEGEND = "labeled: training sees the class. Unlabeled images are sorted by classes that training does not see."

# All sizes are in pixels.
ENLARGED = 64
"""Smaller images are enlarged by the greatest whole factor up to this side."""
LARGEST = 96
"""Larger images are shrunk to this side."""
PAGE_HEIGHT = 2000
"""The bound of the height of a page."""
NAME_WIDTH = 220
"""The bound of the width of a name; longer names are shortened."""
HEADER, FOOTER = 116, 52
"""Heights of the title with the headings, and of the legend."""
MARGIN, GAP, FRAME = 24, 10, 3
BETWEEN_SPLITS = 28
TITLE, HEADING, TEXT, SMALL = 24, 17, 17, 14
"""Sizes of the text."""
INK, PALE, ACCENT, PAPER = "#1f2328", "#59636e", "#e8590c", "#ffffff"


@dataclass(frozen=True)
class Row:
    """One class: its name and its pictures by split."""

    name: str
    pictures: dict[str, list["Image"]]


@dataclass(frozen=True)
class Group:
    """The columns of one split."""

    split: str
    count: str
    """The number of images, as it is shown below the name of the split."""
    left: int
    right: int


@dataclass(frozen=True)
class Fonts:
    """The fonts of everything but the names of the classes."""

    title: "FreeTypeFont"
    heading: "FreeTypeFont"
    small: "FreeTypeFont"


def draw_pages(folder: Path, manifest: Manifest) -> list[bytes]:
    """Return the pages as PNG files; the rows are divided evenly. Raises DataError on a damaged shard."""
    rows = _read_rows(folder, manifest)
    sheet = Sheet(folder.resolve().name, manifest, rows)
    most = max(1, (PAGE_HEIGHT - HEADER - FOOTER) // sheet.step)
    count = -(-len(rows) // most)
    edges = [len(rows) * page // count for page in range(count + 1)]
    return [sheet.draw_page(start, stop) for start, stop in pairwise(edges)]


def _read_rows(folder: Path, manifest: Manifest) -> list[Row]:
    splits = first_samples(folder, manifest, COLUMNS, keep=to_tile)
    names = [*manifest.classes, UNKNOWN]
    rows = [Row(name, {split: splits[split][index] for split in COLUMNS}) for index, name in enumerate(names)]
    return rows if manifest.unknown else rows[:-1]


def to_tile(image: Values) -> "Image":
    """Return an image [H, W, C] in the size in which it is shown: enlarged by a whole factor, or shrunk."""
    from PIL import Image  # noqa: PLC0415

    tile = Image.fromarray(np.broadcast_to(image, (*image.shape[:2], 3)))
    factor = ENLARGED // max(tile.size)
    if factor > 1:
        return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)
    tile.thumbnail((LARGEST, LARGEST))
    return tile


class Sheet:
    """What all pages have in common: the fonts and the positions of names and columns."""

    def __init__(self, title: str, manifest: Manifest, rows: Sequence[Row]) -> None:
        bold, regular = find_face(title, "bold"), find_face(LEGEND)
        self.rows, self.fonts = rows, Fonts(bold.sized(TITLE), bold.sized(HEADING), regular.sized(SMALL))
        self.title, self.about = title, _describe(manifest)
        self.name_fonts = fonts_of([row.name for row in rows], TEXT)
        self.names = [shorten(row.name, font, NAME_WIDTH) for row, font in zip(rows, self.name_fonts, strict=True)]
        tiles = [tile for row in rows for pictures in row.pictures.values() for tile in pictures]
        self.step = max(max(tile.size) for tile in tiles) + GAP
        widths = [font.getlength(name) for name, font in zip(self.names, self.name_fonts, strict=True)]
        self.names_right = MARGIN + round(max(widths))
        self.groups = self._place_groups(manifest)
        self.width = max(self.groups[-1].right, MARGIN + round(self._least_width())) + MARGIN

    def draw_page(self, start: int, stop: int) -> bytes:
        """Return the page with the rows from ``start`` to ``stop`` as a PNG file."""
        from PIL import Image, ImageDraw  # noqa: PLC0415

        height = HEADER + (stop - start) * self.step + FOOTER
        page = Image.new("RGB", (self.width, height), PAPER)
        draw = ImageDraw.Draw(page)
        self._draw_header(draw, self._subtitle(start, stop))
        for place, index in enumerate(range(start, stop)):
            self._draw_row(page, draw, index, HEADER + place * self.step)
        self._draw_legend(draw, height - FOOTER // 2)
        buffer = io.BytesIO()
        page.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()

    def _subtitle(self, start: int, stop: int) -> str:
        rows = len(self.rows)
        return self.about if stop - start == rows else f"{self.about}, rows {start + 1} to {stop} of {rows}"

    def _least_width(self) -> float:
        """Return the width of the title or of the legend, whichever is wider."""
        last, small = len(self.rows), self.fonts.small
        title = self.fonts.title.getlength(self.title) + GAP + small.getlength(self._subtitle(last - 1, last))
        return max(title, 2 * SMALL + small.getlength(LEGEND))

    def _place_groups(self, manifest: Manifest) -> list[Group]:
        """Return the columns of the splits that have images, from left to right."""
        groups: list[Group] = []
        left = self.names_right + BETWEEN_SPLITS
        for split in COLUMNS:
            if columns := max(len(row.pictures[split]) for row in self.rows):
                count = f"{manifest.samples(split):,}"
                text = max(self.fonts.heading.getlength(split), self.fonts.small.getlength(count))
                right = left + max(columns * self.step - GAP, round(text))
                groups.append(Group(split, count, left, right))
                left = right + BETWEEN_SPLITS
        return groups

    def _draw_header(self, draw: "ImageDraw", about: str) -> None:
        fonts = self.fonts
        draw.text((MARGIN, 46), self.title, INK, fonts.title, anchor="ls")
        draw.text((MARGIN + fonts.title.getlength(self.title) + GAP, 46), about, PALE, fonts.small, anchor="ls")
        for group in self.groups:
            draw.text((group.left, 84), group.split, INK, fonts.heading, anchor="ls")
            draw.text((group.left, 102), group.count, PALE, fonts.small, anchor="ls")

    def _draw_row(self, page: "Image", draw: "ImageDraw", index: int, top: int) -> None:
        side = self.step - GAP
        draw.text((self.names_right, top + side // 2), self.names[index], INK, self.name_fonts[index], anchor="rm")
        for group in self.groups:
            for column, tile in enumerate(self.rows[index].pictures[group.split]):
                left = group.left + column * self.step + (side - tile.width) // 2
                upper = top + (side - tile.height) // 2
                page.paste(tile, (left, upper))
                if group.split == "labeled":
                    _draw_frame(draw, left, upper, tile.width, tile.height)

    def _draw_legend(self, draw: "ImageDraw", middle: int) -> None:
        _draw_frame(draw, MARGIN + FRAME, middle - SMALL // 2, SMALL, SMALL)
        draw.text((MARGIN + 2 * SMALL, middle), LEGEND, PALE, self.fonts.small, anchor="lm")


def _describe(manifest: Manifest) -> str:
    height, width = manifest.shape[:2]
    size = "of different sizes" if manifest.varied else f"of {width} x {height} pixels"
    return f"{len(manifest.classes)} classes, images {size}"


def _draw_frame(draw: "ImageDraw", left: int, top: int, width: int, height: int) -> None:
    """Draw the mark of a labeled image around a rectangle."""
    box = (left - FRAME, top - FRAME, left + width + FRAME - 1, top + height + FRAME - 1)
    draw.rectangle(box, outline=ACCENT, width=FRAME)
