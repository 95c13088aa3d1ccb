"""Fonts come from fontconfig where it is installed, and Pillow's own serves everywhere else."""

import logging
from pathlib import Path

import matplotlib as mpl
import pytest

from data_prep.inspection import fonts
from data_prep.inspection.fonts import PILLOWS_OWN, Face, find_face, fonts_of, shorten

FILE = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@pytest.fixture(autouse=True)
def asked(tmp_path, monkeypatch):
    """Put a program in fontconfig's place that records each pattern and always answers with one font."""
    command, record = tmp_path / "fc-match", tmp_path / "patterns"
    command.write_text(f"#!/bin/sh\necho \"$3\" >> {record}\nprintf '%s' '{FILE}\t0\t20-7e 430-44f 2026'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    fonts._ask_fontconfig.cache_clear()
    yield lambda: record.read_text().splitlines()
    fonts._ask_fontconfig.cache_clear()


def test_fontconfig_is_asked_for_the_characters_of_the_text(asked):
    face = find_face("жд", "bold")
    assert face == Face(str(FILE), 0, (range(0x20, 0x7F), range(0x430, 0x450), range(0x2026, 0x2027)))
    assert asked() == ["sans-serif:bold:scalable=true:color=false:charset=434 436"]
    assert Path(face.sized(17).path) == FILE
    assert not face.lacks("жд")
    assert face.lacks("猫")


def test_names_of_the_same_scripts_share_one_question(asked):
    assert len(fonts_of(["cat", "dog", "кот", "пёс", "owl"], 17)) == 5
    assert len(asked()) == 2


def test_one_line_says_which_names_no_font_has(caplog):
    with caplog.at_level(logging.WARNING):
        fonts_of(["cat", "猫", "犬", "кот"], 17)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("class names with characters that no font has: 2, such as 猫; install fontconfig and a font")


@pytest.mark.parametrize("answer", [None, "exit 1", "printf 'No fonts'"])
def test_without_an_answer_it_is_pillows_own_font_in_any_size(answer, tmp_path):
    if answer is None:
        (tmp_path / "fc-match").unlink()
    else:
        (tmp_path / "fc-match").write_text(f"#!/bin/sh\n{answer}\n")
    face = find_face("cat")
    assert face is PILLOWS_OWN
    assert face.sized(34).getlength("cat") == pytest.approx(2 * face.sized(17).getlength("cat"), rel=0.1)


def test_a_font_that_cannot_be_drawn_is_replaced(tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    assert Face(str(tmp_path / "broken.ttf"), 0, ()).sized(17).getlength("cat") > 0


def test_a_text_is_shortened_no_more_than_it_must():
    font = PILLOWS_OWN.sized(17)
    text = "abcdefghijklmnopqrstuvwxyz"
    assert shorten(text, font, font.getlength(text)) == text
    shown = shorten(text, font, 100)
    head, _, tail = shown.partition("…")
    assert text.startswith(head) and text.endswith(tail) and font.getlength(shown) <= 100  # noqa: PT018
    assert abs(len(head) - len(tail)) <= 1
    longer = f"{text[: len(head) + 1]}…{tail}" if len(head) == len(tail) else f"{head}…{text[-len(tail) - 1 :]}"
    assert font.getlength(longer) > 100
