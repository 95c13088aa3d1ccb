"""A real web server for prepared sets, which can fail in the ways that servers fail."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.limits import LIMIT_S


class SetServer(ThreadingHTTPServer):
    """Serves the files of ``folder`` at ``url``.

    ``asked`` lists the names in the order of the requests, ``heads`` their headers; ``faults`` holds, by name,
    functions of the handler and the content that answer instead; ``watch`` is called at each request.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.asked, self.heads, self.faults = folder, [], [], {}
        self.watch = lambda: None
        self.url = f"http://127.0.0.1:{self.server_port}/set"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.partition("?")[0].removeprefix("/set/")
        self.server.asked.append(name)
        self.server.heads.append(self.headers)
        self.server.watch()
        path = self.server.folder / name
        if not path.is_file():
            self.send_error(404)
            return
        self.server.faults.get(name, answer)(self, path.read_bytes())

    def log_message(self, *_):
        pass


def answer(handler, content, sent=None, status=200):
    """Announce the whole content and send its first ``sent`` bytes."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:sent])


def cut(times):
    """Cut the first ``times`` transfers in the middle."""
    done = iter(range(times))
    return lambda handler, content: answer(handler, content, None if next(done, None) is None else len(content) // 2)


def refuse(status):
    return lambda handler, _: handler.send_error(status)


def replace(content):
    return lambda handler, _: answer(handler, content)


def stall(gate):
    """Send half of the content and wait for the gate."""

    def half(handler, content):
        answer(handler, content, len(content) // 2)
        handler.wfile.flush()
        gate.wait(LIMIT_S)

    return half


@contextmanager
def serving(folder):
    with SetServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
