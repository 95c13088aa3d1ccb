"""The import directions in pyproject.toml hold. `make lint` checks the same."""

import pytest
from importlinter.cli import lint_imports

from tests import ROOT


def test_the_written_import_directions_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    code = lint_imports(no_cache=True)
    assert code == 0, capsys.readouterr().out
