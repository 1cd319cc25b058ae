"""A page for the browser on this machine: a file is dropped on it, and what answers is one function.

By the standard library alone, so that nothing has to be installed and nothing outside is asked for.
"""

import os
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn

from tlcl.errors import UserError

HOST = "127.0.0.1"
PORTS = range(7860, 7960)  # of which the first free one is taken
LARGEST = 256 * 2**20  # bytes of a file


class LocalPage(ThreadingMixIn, TCPServer):
    """Serves `page` at `/` and the answer to a file's bytes, sent to `/answer`, until it is stopped.

    It listens on the loopback address and answers no page of another origin, which a browser here may show too.

    Args:
        page: from the nonce that its script needs to its HTML.
        answer: from a file's bytes to HTML; called by one thread at a time.
        port: None for the first free one of `PORTS`.

    Raises:
        UserError: the port is not to be had, or none is.
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # where it would let two programs listen

    def __init__(self, page: Callable[[str], str], answer: Callable[[bytes], str], port: int | None) -> None:
        self.nonce, self.answer, self.one_at_a_time = secrets.token_urlsafe(16), answer, threading.Lock()
        self.page = page(self.nonce)
        super().__init__((HOST, 0), _Handler, bind_and_activate=False)
        for candidate in PORTS if port is None else [port]:
            self.server_address = (HOST, candidate)
            try:
                self.server_bind()
                self.server_activate()
                return
            except OSError as error:
                reason = error.strerror or str(error)
        self.server_close()
        wanted = f"--port={port}" if port is not None else f"every port from {PORTS[0]} to {PORTS[-1]}"
        raise UserError(f"{wanted} cannot be used: {reason}; choose another with --port")

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://{HOST}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: LocalPage
    timeout = 60  # seconds that a browser may be silent

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if not self._refused("/"):
            self._send(HTTPStatus.OK, self.server.page)

    def do_POST(self) -> None:
        if self._refused("/answer"):
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a file has at most {LARGEST // 2**20} MiB")
            return
        content = self.rfile.read(int(length))
        with self.server.one_at_a_time:
            answer = self.server.answer(content)
        self._send(HTTPStatus.OK, answer)

    def _refused(self, path: str) -> bool:
        """Another path; another host's name for this machine, or another site's page, that would look in here."""
        ours = self.server.origin
        sites = {f"http://{self.headers.get('Host')}", self.headers.get("Origin", ours)}
        if self.path == path and sites <= {ours, ours.replace(HOST, "localhost")}:
            return False
        self._send(HTTPStatus.NOT_FOUND, "there is nothing here")
        return True

    def _send(self, status: HTTPStatus, text: str) -> None:
        content = text.encode("utf-8", "backslashreplace")
        pictures, script = "img-src data:; style-src 'unsafe-inline'", f"script-src 'nonce-{self.server.nonce}'"
        policy = f"default-src 'none'; {pictures}; {script}; connect-src 'self'; frame-ancestors 'none'"
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)
