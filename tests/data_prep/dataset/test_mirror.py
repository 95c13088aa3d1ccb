"""A set behind a URL is read as a folder is; nothing unchecked gets a name, and the cache keeps its bound."""

import base64
import dataclasses
import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from data_prep.dataset.checksums import check_shards
from data_prep.dataset.manifest import load_manifest, save_manifest
from data_prep.dataset.mirror import local_path, mirror, use_file
from data_prep.dataset.mirror_cache import parse_bytes
from data_prep.dataset.mirror_url import is_remote
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.storage import transfer
from data_prep.system.errors import DataError, UnreachableError, UsageError
from data_prep.system.paths import cache_folder
from tests.data_prep.serving import answer, cut, refuse, replace, serving, stall
from tests.limits import LIMIT_S, wait_for

TEST = "test-000000.tar"
OTHER = "test-000001.tar"
CHILD = "import sys; from pathlib import Path; from data_prep.dataset.mirror import *; "
# A process that the shell started in the background ignores SIGINT otherwise.
RAISE_ON_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
FETCH = f"{RAISE_ON_SIGINT}{CHILD}local_path(Path(sys.argv[1]), sys.argv[2])"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SMPL_CACHE_BYTES", raising=False)


@pytest.fixture
def server(copied):
    with serving(copied) as server:
        yield server


def tars(folder):
    return sorted(path.name for path in folder.glob("*.tar"))


def hidden(folder):
    return {path.name for path in folder.rglob("*") if path.suffix in (".partial", ".lock", ".incoming")}


def size_of_all(folder):
    return sum(size_or_0(path) for pattern in ("*.tar", "*.tar.partial") for path in folder.parent.glob(f"*/{pattern}"))


def size_or_0(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def fails(error, *arguments):
    """The one line of a call of local_path, or of mirror, that fails."""
    with pytest.raises(error) as caught:
        (local_path if len(arguments) == 2 else mirror)(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def memory(digits):
    import fsspec

    files = fsspec.filesystem("memory")
    files.put(str(digits), "/bucket/set", recursive=True)
    yield "memory://bucket/set"
    files.rm("/bucket", recursive=True)


@pytest.mark.parametrize("kind", ["http", "file", "memory"])
def test_a_mirror_holds_the_bytes_of_the_set(kind, digits, request):
    url = {
        "http": lambda: request.getfixturevalue("server").url + "/",
        "file": digits.as_uri,
        "memory": lambda: request.getfixturevalue("memory"),
    }[kind]()
    folder = mirror(url)
    assert load_manifest(folder) == load_manifest(digits)
    assert tars(folder) == []
    for shard in load_manifest(digits).shards:
        for name in (shard.name, shard.index_name):
            assert local_path(folder, name).read_bytes() == (digits / name).read_bytes()
    assert hidden(cache_folder()) == set()
    check_shards(folder, load_manifest(folder), load_manifest(folder).shards, "always")


def test_each_file_comes_once(server):
    for _ in range(2):
        folder = mirror(server.url)
        for shard in load_manifest(folder).shards:
            local_path(folder, shard.name)
    counts = Counter(server.asked)
    assert counts.pop("manifest.json") == 2
    assert set(counts.values()) == {1}
    assert len(counts) == 2 * len(load_manifest(folder).shards)


def test_what_came_is_known_to_be_checked(server, monkeypatch):
    folder = mirror(server.url)
    manifest = load_manifest(folder)
    local_path(folder, TEST)
    local_path(folder, TEST)  # used again: its time of access is another, its time of change is not
    read, whole = [], hashlib.file_digest

    def watched(file, kind):
        read.append(file.name)
        return whole(file, kind)

    monkeypatch.setattr("data_prep.dataset.checksums.hashlib.file_digest", watched)
    check_shards(folder, manifest, manifest.split("test"), "once")
    assert str(folder / "test-000000.idx") in read
    assert str(folder / TEST) not in read


def test_an_ordinary_folder_is_left_alone(digits, tmp_path):
    before = (digits / TEST).stat()
    assert local_path(digits, TEST) == digits / TEST
    assert local_path(tmp_path, "absent.tar") == tmp_path / "absent.tar"
    assert (digits / TEST).stat() == before
    with pytest.raises(FileNotFoundError):
        use_file(tmp_path, "absent.tar", open)


@pytest.mark.parametrize("times", [1, 4])
def test_cut_transfers_are_tried_again(times, server):
    server.faults = {name: cut(times) for name in ("manifest.json", TEST, "test-000000.idx")}
    folder = mirror(server.url)
    assert local_path(folder, TEST).read_bytes() == (server.folder / TEST).read_bytes()
    counts = Counter(server.asked)
    assert counts[TEST] == counts["test-000000.idx"] == counts["manifest.json"] == times + 1


ANSWERS = {
    "cut": (lambda content: cut(99), "the transfer was cut short"),
    "busy": (lambda content: refuse(503), "503"),
    "gone": (lambda content: refuse(404), "the server answers 404"),
    "forbidden": (lambda content: refuse(403), "the server answers 403"),
    "flipped": (lambda content: replace(content[:-1] + b"x"), "sha256 differs"),
    "short": (lambda content: replace(content[:-512]), "bytes, the manifest says"),
    "long": (lambda content: replace(content + b"x"), "more than the"),
    "empty": (lambda content: replace(b""), "0 bytes"),
    "nonsense": (lambda content: lambda handler, _: handler.wfile.write(b"\0\n\n"), "cannot download"),
}


PASSING = {"cut", "busy", "nonsense"}
"""Of the answers, those that may be others the next time."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_a_bad_answer_is_one_line_and_leaves_nothing(name, server):
    fault, said = ANSWERS[name]
    folder = mirror(server.url)
    server.faults[TEST] = fault((server.folder / TEST).read_bytes())
    text = fails(UnreachableError if name in PASSING else DataError, folder, TEST)
    assert said in text
    assert f"{server.url}/{TEST}" in text
    assert tars(folder) == []
    assert hidden(cache_folder()) == set()
    server.faults.clear()
    assert local_path(folder, TEST).exists()


@pytest.mark.parametrize("name", ["gone", "forbidden", "flipped", "empty", "cut"])
def test_a_bad_index_fails_at_opening(name, server):
    server.faults["val-000000.idx"] = ANSWERS[name][0]((server.folder / "val-000000.idx").read_bytes())
    error = UnreachableError if name in PASSING else DataError
    assert f"{server.url}/val-000000.idx" in fails(error, server.url)
    server.faults.clear()
    assert (mirror(server.url) / "val-000000.idx").exists()


MANIFESTS = {
    "a web page": (replace(b"<html>hello</html>"), "cannot be read"),
    "another schema": (replace(b'{"schema": 77}'), "has schema 77"),
    "gone": (refuse(404), "the server answers 404"),
    "cut": (cut(99), "cut short"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_no_manifest_there(name, server):
    fault, said = MANIFESTS[name]
    server.faults["manifest.json"] = fault
    text = fails(UnreachableError if name in PASSING else DataError, server.url)
    assert said in text
    assert f"{server.url}/manifest.json" in text
    assert "the URL" in text
    assert str(cache_folder()) not in text
    assert list((cache_folder() / "sets").iterdir()) == []


def test_no_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/set"
    text = fails(UnreachableError, url)
    assert f"{url}/manifest.json" in text
    assert "Connection refused" in text


def test_a_signature_is_not_shown_when_no_server_answers():
    assert "hidden" not in fails(UnreachableError, "http://127.0.0.1:9/set?signature=hidden")


def test_bytes_that_a_server_declares_as_compressed_are_kept_as_they_are(server):
    def declared(handler, content):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    server.faults[TEST] = declared
    assert local_path(mirror(server.url), TEST).read_bytes() == (server.folder / TEST).read_bytes()
    assert {heads["Accept-Encoding"] for heads in server.heads} == {"identity"}


@pytest.mark.parametrize("url", ["file:///nowhere/set", "memory://nowhere/set"])
def test_nothing_there_behind_a_driver(url):
    text = fails(DataError, url)
    assert f"{url}/manifest.json" in text
    assert "check the URL" in text


def test_a_missing_driver_names_its_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    text = fails(UsageError, "s3://me:secret@bucket/set")
    assert "s3://bucket/set" in text
    assert "pip install smpl-pipeline[remote]" in text
    assert "secret" not in text


def test_an_unknown_kind_of_address():
    assert "nosuch" in fails(UsageError, "nosuch://host/set")


@pytest.mark.parametrize("url", ["http://[half/set", "http://127.0.0.1:x/set"])
def test_no_address_at_all(url):
    fails(UsageError, url)


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("https://host/set", True),
        ("S3://bucket/set", True),
        ("file:///set", True),
        ("/set", False),
        ("data/a:b", False),
        ("data//set", False),
        ("https:/host/set", False),
    ],
)
def test_is_remote(text, remote):
    assert is_remote(text) == remote


def test_a_password_is_sent_and_never_shown(server):
    asked = server.url.replace("//", "//me:s%40cret@") + "?signature=hidden"
    folder = mirror(asked)
    expected = "Basic " + base64.b64encode(b"me:s@cret").decode()
    assert {heads["Authorization"] for heads in server.heads} == {expected}
    server.faults[TEST] = lambda handler, _: handler.send_error(403, "s@cret s%40cret")
    text = fails(DataError, folder, TEST)
    assert f"{server.url}/{TEST}" in text
    for secret in ("s@cret", "s%40cret", "hidden"):
        assert secret not in text
        assert secret not in str(folder)
    assert (folder / ".origin").stat().st_mode & 0o077 == 0
    assert mirror(server.url) == folder  # the same set, whoever asks


def test_a_password_is_not_sent_on(server, copied):
    with serving(copied) as other:
        server.faults["manifest.json"] = lambda handler, _: redirect(handler, f"{other.url}/manifest.json")
        mirror(server.url.replace("//", "//me:secret@"))
        assert other.asked == ["manifest.json"]
        assert other.heads[0]["Authorization"] is None


def redirect(handler, url):
    handler.send_response(302)
    handler.send_header("Location", url)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_two_processes_bring_a_shard_once(server):
    gate = threading.Event()
    folder = mirror(server.url)
    server.faults[TEST] = lambda handler, content: (gate.wait(LIMIT_S), answer(handler, content))
    command = [sys.executable, "-c", f"print(flush=True); {FETCH}; print('done')", str(folder), TEST]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for child in children:
        child.stdout.readline()  # both are about to ask
    gate.set()
    assert [child.communicate(timeout=LIMIT_S)[0] for child in children] == ["done\n"] * 2
    assert server.asked.count(TEST) == 1


def test_many_threads_bring_a_shard_once(server):
    folder = mirror(server.url)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: local_path(folder, TEST).read_bytes(), range(16))) == {
            (server.folder / TEST).read_bytes()
        }
    assert server.asked.count(TEST) == 1


def test_the_bound_holds_and_the_least_recently_used_goes(server, monkeypatch):
    manifest = load_manifest(server.folder)
    bound = 3 * max(shard.bytes for shard in manifest.shards)
    monkeypatch.setenv("SMPL_CACHE_BYTES", str(bound))
    folder = mirror(server.url)
    seen = []
    server.watch = lambda: seen.append(size_of_all(folder))
    for shard in [*manifest.shards, *manifest.shards]:
        kept = use_file(folder, manifest.shards[0].name, lambda path: path.open("rb"))
        path = local_path(folder, shard.name)
        assert path.read_bytes() == (server.folder / shard.name).read_bytes()
        assert size_of_all(folder) <= bound
        kept.close()
    assert max(seen) <= bound
    assert server.asked.count(manifest.shards[0].name) == 1  # it was used before each of the others
    assert set(tars(folder)) > {manifest.shards[0].name, manifest.shards[-1].name}


def test_the_bound_holds_for_threads_and_over_sets(server, memory, monkeypatch):
    manifest = load_manifest(server.folder)
    bound = int(1.5 * max(shard.bytes for shard in manifest.shards))
    monkeypatch.setenv("SMPL_CACHE_BYTES", str(bound))
    folders = [mirror(server.url), mirror(memory)]
    seen = []
    server.watch = lambda: seen.append(size_of_all(folders[0]))

    def read(number):
        shard = manifest.shards[number % len(manifest.shards)]
        content = use_file(folders[number % 3 == 0], shard.name, lambda path: path.read_bytes())
        assert content == (server.folder / shard.name).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4 * len(manifest.shards))))
    assert max(seen) <= bound
    assert size_of_all(folders[0]) <= bound
    assert hidden(cache_folder()) == set()


def test_an_open_shard_stays_readable_when_it_goes(server, monkeypatch):
    monkeypatch.setenv("SMPL_CACHE_BYTES", "500K")
    folder = mirror(server.url)
    with local_path(folder, TEST).open("rb") as opened:
        local_path(folder, OTHER)
        assert tars(folder) == [OTHER]
        assert opened.read() == (server.folder / TEST).read_bytes()


def test_a_shard_dropped_before_it_was_opened_comes_again(server):
    folder = mirror(server.url)
    dropped = []

    def use(path):
        if not dropped:
            dropped.append(path.unlink())
        return path.read_bytes()

    assert use_file(folder, TEST, use) == (server.folder / TEST).read_bytes()
    assert server.asked.count(TEST) == 2


def test_a_shard_greater_than_the_bound(server, monkeypatch):
    folder = mirror(server.url)
    monkeypatch.setenv("SMPL_CACHE_BYTES", "400K")
    text = fails(UsageError, folder, TEST)
    assert TEST in text
    assert "$SMPL_CACHE_BYTES allows 400000" in text
    monkeypatch.setenv("SMPL_CACHE_BYTES", "plenty")
    assert "'plenty'" in fails(UsageError, folder, TEST)
    assert TEST not in server.asked


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("20G", 20 * 10**9), ("20 gb", 20 * 10**9), ("1.5K", 1500), ("2Ki", 2048), ("1TiB", 1 << 40)],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1e9", "20 apples", "1i", "9" * 400])
def test_no_sizes(text):
    with pytest.raises(ValueError, match="not a number of bytes"):
        parse_bytes(text)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_then_again(number, server, monkeypatch):
    gate = threading.Event()
    folder = mirror(server.url)
    server.faults[TEST] = stall(gate)
    child = subprocess.Popen([sys.executable, "-c", FETCH, str(folder), TEST], stderr=subprocess.DEVNULL)
    wait_for(lambda: TEST in server.asked and (folder / f"{TEST}.partial").exists())
    child.send_signal(number)
    child.wait(LIMIT_S)
    gate.set()
    assert tars(folder) == []
    assert (folder / f"{TEST}.partial").exists() == (number == signal.SIGKILL)
    server.faults.clear()
    monkeypatch.setenv("SMPL_CACHE_BYTES", "850K")  # room for two, so none for what the dead one had reserved
    for name in (OTHER, TEST):
        assert local_path(folder, name).read_bytes() == (server.folder / name).read_bytes()
    assert tars(folder) == [TEST, OTHER]
    assert hidden(cache_folder()) == set()


def test_a_full_disk_is_one_line_and_leaves_nothing(server):
    folder = mirror(server.url)
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); {CHILD}"
    code = f"{limited}from data_prep.system.cli import exit_code; "
    code += f"exit_code(lambda: local_path(Path(sys.argv[1]), '{TEST}'))"
    child = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert child.stderr.count("\n") == 1
    assert f"cannot write {folder / TEST}" in child.stderr
    assert tars(folder) == []
    assert hidden(cache_folder()) == set()


def test_a_full_disk_in_the_middle(server, monkeypatch):
    folder = mirror(server.url)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data_prep.dataset.mirror.os.fsync", full)
    text = fails(DataError, folder, TEST)
    assert "No space left on device" in text
    assert "SMPL_CACHE" in text
    assert tars(folder) == []
    assert hidden(cache_folder()) == set()


def test_a_changed_set_replaces_what_was_kept(server):
    old = mirror(server.url)
    local_path(old, TEST)
    shutil.rmtree(server.folder)
    manifest = prepare(PrepareRequest("digits", out=server.folder, seed=1))
    new = mirror(server.url)
    assert new != old
    assert load_manifest(new) == manifest
    assert tars(old) == []
    assert local_path(new, TEST).read_bytes() == (server.folder / TEST).read_bytes()
    text = fails(DataError, old, TEST)
    assert f"{server.url} has changed" in text
    assert "run the same command again" in text


def test_a_set_that_changed_unnoticed_is_not_mixed_with_the_old_one(server):
    folder = mirror(server.url)
    shutil.rmtree(server.folder)
    prepare(PrepareRequest("digits", out=server.folder, seed=1))
    assert "if the set has changed there" in fails(DataError, folder, "unlabeled-000000.tar")
    assert tars(folder) == []


def test_a_set_changed_there_and_back(server):
    manifest = load_manifest(server.folder)
    first = mirror(server.url)
    save_manifest(dataclasses.replace(manifest, dataset="other"), server.folder)
    assert mirror(server.url) != first
    save_manifest(manifest, server.folder)
    assert mirror(server.url) == first
    assert local_path(first, TEST).exists()


@pytest.mark.parametrize("name", ["extra.tar", "../../x.tar", "records.json"])
def test_a_file_that_the_manifest_does_not_name(name, server):
    folder = mirror(server.url)
    server.asked.clear()
    assert "names no" in fails(DataError, folder, name)
    assert server.asked == []
    assert hidden(cache_folder().parent) == set()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}"])
def test_a_damaged_origin(content, server):
    folder = mirror(server.url)
    (folder / ".origin").write_bytes(content)
    assert f"{folder / '.origin'} cannot be read; open the set by its URL again" in fails(DataError, folder, TEST)
    assert mirror(server.url) == folder
    assert local_path(folder, TEST).exists()


def test_a_manifest_whose_names_leave_the_folder_is_refused(server):
    content = json.loads((server.folder / "manifest.json").read_bytes())
    content["shards"][0]["name"] = "../labeled-000000.tar"
    server.faults["manifest.json"] = replace(json.dumps(content).encode())
    assert "is not labeled-NNNNNN.tar" in fails(DataError, server.url)


def test_a_damaged_file_of_a_mirror_comes_again_once_removed(server):
    folder = mirror(server.url)
    manifest = load_manifest(folder)
    path = local_path(folder, TEST)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(DataError, match=f"{TEST}: sha256 differs .* remove it and it is downloaded again"):
        check_shards(folder, manifest, manifest.shards, "once")
    path.unlink()
    check_shards(folder, manifest, manifest.shards, "once")
    assert local_path(folder, TEST).read_bytes() == content
