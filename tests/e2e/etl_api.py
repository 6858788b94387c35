"""An HTTP API on loopback that serves rows by every kind of paging, after asking for patience."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

PAGE_ROWS = 40


class Api(BaseHTTPRequestHandler):
    """Answers to who names the token, and sends everybody away once in the middle.

    Attributes:
        rows: What is served, as JSON texts, by the kind of paging in the path.
        token: The header that is expected.
        asked: Paging and position of every request, refused ones included.
    """

    rows: ClassVar[Sequence[str]] = ()
    token: ClassVar[str] = ""
    asked: ClassVar[list[tuple[str, int, int]]] = []

    def do_GET(self) -> None:
        """Give one page."""
        parts = urlsplit(self.path)
        kind = parts.path.rpartition("/")[2]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        position = int(query.get("at", "0"))
        start = (position - 1) * PAGE_ROWS if kind == "page" else position
        if self.headers["Authorization"] != self.token or query["day"] != "2026-05-01":
            self._answer(kind, position, 403, {})
        elif start == PAGE_ROWS and (kind, position, 429) not in self.asked:
            self._answer(kind, position, 429, {"Retry-After": "0"})
        else:
            self._page(kind, position, start)

    def _page(self, kind: str, position: int, start: int) -> None:
        stop = start + PAGE_ROWS
        more = stop < len(self.rows)
        headers = {}
        if kind == "link" and more:
            headers["Link"] = f'</v1/link?at={stop}&day=2026-05-01>; rel="next"'
        following = json.dumps(str(stop) if more else None)
        records = ",".join(self.rows[start:stop])
        text = f'{{"data": {{"items": [{records}]}}, "meta": {{"next": {following}}}}}'
        self._answer(kind, position, 200, headers, text)

    def _answer(
        self, kind: str, position: int, status: int, headers: dict[str, str], text: str = ""
    ) -> None:
        self.asked.append((kind, position, status))
        content = text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_words: Any) -> None:  # noqa: ANN401 - of the base class
        """Say nothing."""


@contextmanager
def serving(rows: Sequence[str], token: str) -> Iterator[str]:
    """Serve rows; gives the address."""
    Api.rows, Api.token, Api.asked[:] = rows, token, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()
