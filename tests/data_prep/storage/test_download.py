"""A download resumes where it was cut, is checked, and without a network says what to do."""

import hashlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO

import pytest
from click.testing import CliRunner

from data_prep.cli import main
from data_prep.sources import SOURCES, LoadOptions
from data_prep.storage import transfer
from data_prep.storage.download import PublishedFile, fetch
from data_prep.storage.http_session import http_session
from data_prep.storage.url import Url
from data_prep.system.errors import DataError, UnreachableError
from data_prep.system.paths import cache_folder

CONTENT = bytes(range(256)) * 2000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Cutting(BaseHTTPRequestHandler):
    """Serves CONTENT; the first transfer ends after 100,000 bytes."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        self.server.logins.append(self.headers.get("Authorization"))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if self.server.status or start >= len(CONTENT):
            self.send_error(self.server.status or 416)
            return
        if self.server.location and self.headers["Host"] == self.server.url.split("/")[2]:
            self.send_response(302)
            self.send_header("Location", self.server.location)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", self.server.length or str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : 100_000 if len(self.server.asked) == 1 else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Cutting) as server:
        server.asked, server.logins, server.ranges, server.status = [], [], True, None
        server.location = server.length = None
        server.url = f"http://127.0.0.1:{server.server_port}/file.bin"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_cut_transfer_resumes(server):
    assert fetch(PublishedFile(server.url, MD5)).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]
    assert [path.name for path in cache_folder().iterdir()] == ["file.bin"]


def test_cached_file_is_not_fetched_again(server):
    first = fetch(PublishedFile(server.url, MD5))
    server.asked.clear()
    assert fetch(PublishedFile(server.url, MD5)) == first
    assert server.asked == []


def test_part_of_an_earlier_call_is_resumed(server):
    cache_folder().mkdir(parents=True)
    (cache_folder() / "file.bin.part").write_bytes(CONTENT[:300_000])
    server.asked.append("not the first any more")
    assert fetch(PublishedFile(server.url, MD5)).read_bytes() == CONTENT
    assert server.asked[1:] == ["bytes=300000-"]


def test_server_without_ranges_starts_over(server):
    server.ranges = False
    assert fetch(PublishedFile(server.url, MD5)).read_bytes() == CONTENT


def test_overlong_part_starts_over(server):
    cache_folder().mkdir(parents=True)
    (cache_folder() / "file.bin.part").write_bytes(CONTENT + b"x")
    server.asked.append("not the first any more")
    assert fetch(PublishedFile(server.url, MD5)).read_bytes() == CONTENT


def test_other_bytes_are_refused_and_removed(server):
    with pytest.raises(DataError, match="published is 0000"):
        fetch(PublishedFile(server.url, "0" * 32))
    assert list(cache_folder().iterdir()) == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_offline_says_what_to_put_where(name, monkeypatch):
    monkeypatch.setattr(transfer.time, "sleep", lambda _: pytest.fail("offline, it should not wait"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(UnreachableError) as caught:
        SOURCES[name].load(LoadOptions())
    text = str(caught.value)
    assert "\n" not in text
    assert "Name or service not known" in text
    assert f"put the file at {cache_folder()}" in text
    assert "--source" in text


def test_offline_exits_as_unreachable(monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    result = CliRunner().invoke(main, ["prepare", "cifar10", "--out", str(tmp_path / "set")])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "cannot download" in result.stderr


@pytest.mark.parametrize(
    ("status", "error"), [(300, DataError), (404, DataError), (403, DataError), (503, UnreachableError)]
)
def test_a_permanent_answer_is_bad_data_and_a_transient_one_unreachable(status, error, server):
    server.status = status
    with pytest.raises(error, match=f"the server answers {status}"):
        fetch(PublishedFile(server.url, MD5))


def test_a_password_of_netrc_is_not_sent(server, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(PublishedFile(server.url, MD5))
    assert set(server.logins) == {None}


def test_the_certificates_of_the_system_are_trusted_and_no_others():
    with http_session() as session:
        adapter = session.get_adapter("https://example.org/")
        for pools in (adapter.poolmanager, adapter.proxy_manager_for("http://127.0.0.1:9")):
            pool = pools.connection_from_url("https://example.org/")
            adapter.cert_verify(pool, "https://example.org/", True, None)
            context = pool.conn_kw["ssl_context"]
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
            assert (pool.ca_certs, pool.ca_cert_dir) == (None, None)


def test_a_redirect_gets_no_password_of_netrc(server, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("default login bob password secret\n")
    server.location = server.url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    for url in (server.url, server.url.replace("//", "//ann:pw@")):
        server.asked[:], server.logins[:] = ["not the first any more"], []
        transfer.receive(Url(url), BytesIO(), len(CONTENT))
        assert server.logins[-1] is None
        assert len(server.logins) == 2


def test_a_redirect_loop_is_refused_at_once(server):
    server.location = server.url
    with pytest.raises(DataError, match="redirects"):
        fetch(PublishedFile(server.url, MD5))
    assert len(server.asked) == 11


def test_a_server_without_ranges_starts_over_within_the_attempt(server, monkeypatch):
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    server.ranges = False
    test_overlong_part_starts_over(server)


def test_a_length_that_is_no_number_is_unknown(server):
    server.length = "many"
    server.asked.append("not the first any more")
    assert fetch(PublishedFile(server.url, MD5)).read_bytes() == CONTENT


def test_a_proxy_for_all_schemes_is_ignored(server, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    assert fetch(PublishedFile(server.url, MD5)).read_bytes() == CONTENT


def refuse(*_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
