"""How an API is read page by page: which request comes next, and when there is none."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from batch.json_answer import JsonAnswer
from common.errors import SourceRefusedError
from pipelines.etl_source import Paging


@dataclass(frozen=True)
class Page:
    """What an answer says of the pages.

    Attributes:
        answer: The answer.
        record_count: How many records it has.
        digest: Hash of its text.
        link: Address of the next page by the header `Link`, if there is one.
    """

    answer: JsonAnswer
    record_count: int
    digest: bytes
    link: URL | None


class Pager:
    """Walks through the pages, and refuses to go round in circles.

    Args:
        paging: How; None is one page.
        url: Address of the first page, without parameters.
        params: Parameters of every request.
        what: The source, for messages.
    """

    def __init__(
        self, paging: Paging | None, url: URL, params: Mapping[str, str], what: str
    ) -> None:
        self._paging = paging
        self._what = what
        self._base = url
        self._params = dict(params)
        self._number = paging.first if paging and paging.kind == "page" else 0
        self._last_digest = b""
        self._seen: set[bytes] = set()
        if paging and paging.size_param:
            self._params[paging.size_param] = str(paging.size)
        if paging and paging.kind in ("page", "offset"):
            self._params[paging.param] = str(self._number)
        self.next: URL | None = url.update_query(self._params)

    @property
    def ends_when_missing(self) -> bool:
        """Whether an address without a page means that there are no more."""
        paging = self._paging
        return paging is not None and paging.kind == "page" and self._number > paging.first

    def turn(self, page: Page) -> None:
        """Set the next address, None behind the last page.

        Raises:
            SourceRefusedError: The pages go round in circles, or lead to another server.
        """
        paging = self._paging
        if paging is None:
            self.next = None
        elif paging.kind == "link":
            self._follow(page.link)
        elif paging.kind == "cursor":
            self._take_token(paging, page.answer.value(paging.token))
        else:
            self._count(paging, page)

    def _count(self, paging: Paging, page: Page) -> None:
        """Go on until a page is empty: a short page may be the server's own limit."""
        if page.record_count == 0:
            self.next = None
            return
        if page.digest == self._last_digest:
            raise self._circle(f"the same page for `{paging.param}` {self._number} as before")
        self._last_digest = page.digest
        self._number += 1 if paging.kind == "page" else page.record_count
        self.next = self._base.update_query(self._params | {paging.param: str(self._number)})

    def _take_token(self, paging: Paging, token: object) -> None:
        if token is None or token is False or token == "":
            self.next = None
            return
        if not isinstance(token, str | int):
            raise SourceRefusedError(
                f"{self._what}: expected a text or a number at `{paging.token}`, got "
                f"{type(token).__name__}; correct `source.http.paging.cursor.token`"
            )
        self._once(str(token), f"a token at `{paging.token}` that it had given before")
        self.next = self._base.update_query(self._params | {paging.param: str(token)})

    def _follow(self, link: URL | None) -> None:
        if link is not None:
            if link.origin() != self._base.origin():
                raise SourceRefusedError(
                    f"{self._what}: expected the next page at {self._base.origin()}, got a link to "
                    f"{link.origin()}; headers are not sent to another server"
                )
            self._once(str(link), "a link that it had given before")
        self.next = link

    def _once(self, text: str, got: str) -> None:
        digest = hashlib.sha256(text.encode()).digest()
        if digest in self._seen:
            raise self._circle(got)
        self._seen.add(digest)

    def _circle(self, got: str) -> SourceRefusedError:
        return SourceRefusedError(
            f"{self._what}: expected other pages to follow, got {got}; correct `source.http.paging`"
        )
