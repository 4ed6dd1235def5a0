"""A proxy before a real MLflow server: it counts requests, and gives answers that the server would not."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests

Answer = tuple[int, bytes, dict[str, str]]  # status, content, headers


class Proxy:
    """What a proxy does and has seen; a test sets `inject` while it runs."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.address = ""
        self.requests: list[str] = []  # method and path, without the query
        # the answer to a request (method and path, content), or None: the server's own. A ConnectionError
        # ends the connection
        self.inject: Callable[[str, bytes], Answer | None] = lambda _request, _content: None


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Serves what the server at `target` answers, except where `inject` gives another answer."""
    state = Proxy(target)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = f"{self.command} {self.path.partition('?')[0]}"
            state.requests.append(request)
            try:
                status, body, headers = state.inject(request, content) or self.forward(content)
            except ConnectionError:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            with suppress(OSError):  # the client has gone
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def forward(self, content: bytes) -> Answer:
            headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
            answer = requests.request(
                self.command, state.target + self.path, data=content, headers=headers, timeout=60
            )
            kind = answer.headers.get("Content-Type", "text/plain")
            return answer.status_code, answer.content, {"Content-Type": kind}

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
