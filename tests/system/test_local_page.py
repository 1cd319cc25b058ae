"""A page that is for the browser on this machine alone."""

import http.client
import threading
from collections.abc import Iterator

import pytest

from tlcl.errors import UserError
from tlcl.system import local_page
from tlcl.system.local_page import HOST, PORTS, LocalPage


@pytest.fixture
def served() -> Iterator[LocalPage]:
    with LocalPage(lambda nonce: f"page {nonce}", lambda content: f"{len(content)} bytes", None) as page:
        thread = threading.Thread(target=page.serve_forever, args=(0.05,))
        thread.start()
        yield page
        page.shutdown()
        thread.join()


def ask(
    page: LocalPage, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    """(status, text, headers) of a reply."""
    connection = http.client.HTTPConnection(HOST, page.server_address[1], timeout=10)
    try:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), reply.headers
    finally:
        connection.close()


def test_the_page_and_the_answer(served: LocalPage) -> None:
    status, text, headers = ask(served, "GET", "/")
    assert (status, text) == (200, f"page {served.nonce}")
    assert f"script-src 'nonce-{served.nonce}'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert ask(served, "POST", "/answer", bytes(70_000))[:2] == (200, "70000 bytes")
    assert ask(served, "POST", "/answer", b"abc", Origin=served.origin)[:2] == (200, "3 bytes")
    assert ask(served, "GET", "/../etc/passwd")[0] == ask(served, "POST", "/")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.org"}, {"Host": "evil.org:{port}"}, {"Origin": "http://evil.org"}, {"Origin": "null"}],
)
def test_no_other_site_looks_in(served: LocalPage, headers: dict[str, str]) -> None:
    """A name that is made to lead to this machine, and a page of another origin."""
    filled = {key: value.format(port=served.server_address[1]) for key, value in headers.items()}
    assert ask(served, "GET", "/", **filled)[0] == 404
    assert ask(served, "POST", "/answer", b"abc", **filled)[0] == 404


def test_localhost_is_this_machine(served: LocalPage) -> None:
    assert ask(served, "GET", "/", Host=f"localhost:{served.server_address[1]}")[0] == 200


def test_a_file_that_is_too_large_is_not_read(served: LocalPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_page, "LARGEST", 2**20)
    assert ask(served, "POST", "/answer", bytes(2**20))[0] == 200
    status, text, _ = ask(served, "POST", "/answer", b"abc", **{"Content-Length": str(2**20 + 1)})
    assert (status, text) == (413, "a file has at most 1 MiB")
    assert ask(served, "POST", "/answer", b"abc", **{"Content-Length": "-1"})[0] == 413


def test_the_first_free_port_is_taken_and_a_taken_one_is_said(served: LocalPage) -> None:
    host, port = served.server_address[:2]
    assert host == HOST == "127.0.0.1"
    assert port in PORTS
    with LocalPage(str, str, None) as other:  # type: ignore[arg-type]
        assert other.server_address[1] in PORTS
        assert other.server_address[1] > port
    with pytest.raises(UserError, match=rf"--port={port} cannot be used: .*; choose another with --port") as caught:
        LocalPage(str, str, port)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
