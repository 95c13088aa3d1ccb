import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.config.recipes import built_in
from tests import ROOT

PACKAGES = ("benchmarks", "data_prep", "pipeline")


@pytest.mark.slow
def test_a_wheel_holds_the_packages_the_recipes_and_the_commands(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert {f"pipeline/recipes/{name}.yaml" for name in built_in()} <= names
    modules = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert modules <= names
    assert all(f"{command} = " in entry_points for command in ("smpl", "smpl-train", "smpl-data"))


def test_the_image_has_the_version_of_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert f"ARG VERSION={setup['metadata']['version']}\n" in (ROOT / "Dockerfile").read_text()


def test_the_image_and_its_layers_hold_the_versions_that_are_tested() -> None:
    """Each requirement of the image, with its hashes, is in the development lock too."""
    tested = (ROOT / "requirements.lock").read_text()
    for layer in ("torch-cuda", "libraries", "build", "smoke"):
        for requirement in (ROOT / "docker" / "requirements" / f"{layer}.lock").read_text().split("\n")[:-1]:
            assert requirement in tested, (layer, requirement)
