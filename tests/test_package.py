import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from pipeline.recipes import built_in

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "data_prep", "pipeline")


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
