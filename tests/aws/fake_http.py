"""A small HTTP server for what cannot be reached here: AWS's endpoints, agents and metadata services."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLOSE = "close"
"""Instead of an answer: the connection is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def operation(self) -> str:
        """Of the AWS JSON protocol."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]

    @property
    def data(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def access_key(self) -> str:
        """Whose credentials signed it."""
        return self.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


@dataclass(slots=True)
class FakeHttp:
    """Answers with what `answer` gives: (status, body), the body as bytes, text or JSON; or `CLOSE`."""

    answer: Callable[[Asked], Any]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeHttp

    def _any(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        asked = Asked(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        self.fake.asked.append(asked)
        answer = self.fake.answer(asked)
        if answer == CLOSE:
            self.close_connection = True
            return
        status, body = answer
        if not isinstance(body, str | bytes):
            body = json.dumps(body)
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = _any  # noqa: N815 - the base class calls them so

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away
            self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: tests look at `asked`."""


@contextmanager
def fake_http(answer: Callable[[Asked], Any]) -> Iterator[FakeHttp]:
    """A server on loopback, for as long as the context lasts."""
    fake = FakeHttp(answer)
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
