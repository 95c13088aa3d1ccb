"""The committed files are what kustomize renders: checked by hashes, and by rendering if there is kubectl."""

import re
import shutil
import subprocess
from hashlib import sha256

import pytest
import yaml

from tests.k8s.objects import FILES, K8S, ROOT, load, text_of, workloads
from tests.k8s.resources import PROVIDED

SOURCES = ("base", "components", "jobs", "overlays")
HEADER = re.compile(r"# sources sha256:(\w{64})\n# text    sha256:(\w{64})\n")


def sha_of_sources():
    """Return the hash of the sources as scripts/manifests computes it, from sha256sum over all files sorted by path."""
    files = [path for folder in SOURCES for path in (K8S / folder).rglob("*") if path.is_file()]
    named = sorted((path.relative_to(ROOT).as_posix().encode(), path) for path in files)
    lines = [sha256(path.read_bytes()).hexdigest().encode() + b"  " + name + b"\n" for name, path in named]
    return sha256(b"".join(lines)).hexdigest()


def test_every_source_has_its_file():
    named = {path.parent.name for folder in ("jobs", "overlays") for path in (K8S / folder).glob("*/about.txt")}
    assert {name.removesuffix(".yaml") for name in FILES} == named


@pytest.mark.parametrize("name", FILES)
def test_files_are_of_these_sources_and_unchanged(name):
    found = HEADER.search(text_of(name))
    assert found, f"k8s/{name} has no hashes; run make manifests"
    assert found[1] == sha_of_sources(), f"k8s/{name} is older than its sources; run make manifests"
    assert found[2] == sha256(text_of(name)[found.end() :].encode()).hexdigest(), f"k8s/{name} was changed by hand"


@pytest.mark.parametrize("name", FILES)
def test_files_tell_how_to_apply_them(name):
    """The header names the file, and the objects that its commands name exist."""
    header = text_of(name)[: HEADER.search(text_of(name)).start()]
    assert f"kubectl -n smpl apply -f k8s/{name}" in header
    objects = load(name)
    known = {item["metadata"]["name"] for item in objects} | {work.name for work in workloads(objects)}
    assert set(re.findall(r"\b(?:job|claim|service)[ /](\w+-[-\w]+)", header)) <= known | PROVIDED.keys()


def test_the_readme_names_what_there_is():
    """The files, Jobs and other objects that the README's commands name exist."""
    readme = (K8S / "README.md").read_text()
    assert set(re.findall(r"\]\((\S+\.yaml)\)", readme)) == set(FILES)
    assert set(re.findall(r"k8s/([a-z]\S+?\.yaml)\b", readme)) <= set(FILES)
    known = {f"{work.kind.lower()}/{work.name}" for name in FILES for work in workloads(load(name))}
    assert set(re.findall(r"\b((?:job|deployment)/[a-z]\S*?[a-z0-9])(?=[\s`])", readme)) <= known


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the overlay")
def test_the_overlay_of_the_readme_renders(copy):
    (folder := copy / "my-cifar10").mkdir()
    overlay = re.search(r"```yaml\n(.*?)```", (K8S / "README.md").read_text(), re.DOTALL)[1]
    (folder / "kustomization.yaml").write_text(overlay)
    command = [shutil.which("kubectl"), "kustomize", str(folder)]
    rendered = list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert {item["metadata"]["namespace"] for item in rendered} == {"smpl"}
    (job,) = [work for work in workloads(rendered) if work.kind == "Job"]
    assert {part["image"] for part in job.containers} == {"registry.example.org/smpl-train:0.1.0"}
    assert job.main["args"] == ["--dataset", "cifar10", "--method=mpl"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a copy of the sources and the script, for a test to change."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(K8S, folder / "k8s")
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "manifests", folder / "scripts")
    return folder


def manifests(folder, *arguments, **env):
    command = [shutil.which("bash"), str(folder / "scripts" / "manifests"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, **env)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the manifests")
def test_rendering_again_finds_what_was_changed_and_nothing_else(copy):
    with (copy / "k8s" / FILES[0]).open("a") as file:
        file.write("# changed\n")
    (copy / "k8s" / "old.yaml").touch()
    stale = manifests(copy, "--check")
    assert stale.returncode == 1
    assert [line.rpartition("/")[2] for line in stale.stderr.splitlines() if "/" in line] == [FILES[0], "old.yaml"]


def test_without_kubectl_it_says_so(copy, tmp_path):
    for program in ("dirname", "bash"):
        (tmp_path / program).symlink_to(shutil.which(program))
    done = manifests(copy, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "kubectl" in done.stderr
