"""Find fonts for a picture: those that fontconfig proposes for the characters of a text, else Pillow's own."""

import logging
import shutil
import subprocess
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

logger = logging.getLogger(__name__)

ANSWER = "%{file}\t%{index}\t%{charset}"
"""What fontconfig is asked to print about a font: its file, its number in that file, and the characters that it has."""
ELLIPSIS = "…"
SECONDS = 10
"""Time limit of a question to fontconfig, which builds its cache when it is asked for the first time."""


@dataclass(frozen=True)
class Face:
    """A font in any size."""

    file: str
    """The font's file; empty for Pillow's own font, which has the characters of ASCII."""
    index: int
    characters: tuple[range, ...]
    """The code points of the characters that the font has."""

    def sized(self, pixels: int) -> "FreeTypeFont":
        """Return the font with this size of an em, in pixels."""
        from PIL import ImageFont  # noqa: PLC0415

        if not self.file:
            return ImageFont.load_default(pixels)  # type: ignore[return-value]  # a scalable font where there is FreeType
        try:
            return ImageFont.truetype(self.file, pixels, self.index)
        except OSError:  # a format that Pillow cannot draw, such as the color bitmaps of emoji
            return PILLOWS_OWN.sized(pixels)

    def lacks(self, text: str) -> bool:
        """Return whether the font lacks a character of the text."""
        return not all(any(ord(sign) in group for group in self.characters) for sign in text)


PILLOWS_OWN = Face("", 0, (range(0x20, 0x7F),))


def find_face(text: str, style: str = "regular") -> Face:
    """Return the sans-serif font that has most characters of a text; ``style`` is fontconfig's word for its weight."""
    wanted = " ".join(f"{code:x}" for code in sorted(set(map(ord, text))))
    answer = _ask_fontconfig(f"sans-serif:{style}:scalable=true:color=false:charset={wanted}")
    file, _, rest = answer.partition("\t")
    index, _, characters = rest.partition("\t")
    return Face(file, int(index), tuple(map(_range, characters.split()))) if index.isdecimal() else PILLOWS_OWN


def fonts_of(names: Sequence[str], pixels: int) -> list["FreeTypeFont"]:
    """Return a font for each name, and log a warning if there are names of which no font has all characters.

    Names of the same scripts share a font, so that fontconfig is asked once for each script and not for each name.
    """
    texts: dict[frozenset[str], str] = {}
    for name in names:
        texts[_scripts(name)] = texts.get(_scripts(name), "") + name
    faces = {scripts: find_face(text + ELLIPSIS) for scripts, text in texts.items()}
    if lacking := [name for name in names if faces[_scripts(name)].lacks(name)]:
        logger.warning(
            "class names with characters that no font has: %d, such as %s; install fontconfig and a font for them, "
            "such as fonts-noto-cjk for Chinese, Japanese and Korean",
            len(lacking),
            lacking[0],
        )
    fonts = {scripts: face.sized(pixels) for scripts, face in faces.items()}
    return [fonts[_scripts(name)] for name in names]


def shorten(text: str, font: "FreeTypeFont", width: float) -> str:
    """Return a text that is at most ``width`` pixels wide, with an ellipsis in the middle if it had to be shortened."""
    shown, kept = text, len(text)
    while kept and font.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}{ELLIPSIS}{text[len(text) - kept // 2 :]}"
    return shown


@cache
def _ask_fontconfig(pattern: str) -> str:
    """Return what ``fc-match`` prints for a pattern; an empty text if it is not there or fails."""
    command = shutil.which("fc-match")
    if command is None:
        return ""
    try:
        call = [command, "--format", ANSWER, pattern]
        return subprocess.run(call, capture_output=True, text=True, timeout=SECONDS, check=True).stdout  # noqa: S603
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


def _range(text: str) -> range:
    """Read one range of fontconfig's character sets: hexadecimal code points such as ``41`` or ``20-7e``."""
    first, _, last = text.partition("-")
    return range(int(first, 16), int(last or first, 16) + 1)


def _scripts(name: str) -> frozenset[str]:
    """Return the scripts of a name's letters beyond ASCII, such as CJK or HANGUL: the first words of their names."""
    return frozenset(unicodedata.name(sign, "unknown").split()[0] for sign in name if not sign.isascii())
