"""Answers of an API: where the records lie in the text, as it came."""

import json
import re
from collections.abc import Iterator

from common.errors import SourceRefusedError

_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class JsonAnswer:
    """A JSON text; parts of it are found by paths such as `data.items`.

    Texts of records are cut out, not written again, so that no number loses a digit.

    Args:
        text: The whole answer.
        what: Where it is from, for messages.

    Raises:
        SourceRefusedError: It is no JSON.
    """

    def __init__(self, text: str, what: str) -> None:
        self._text = text
        self._what = what
        try:
            _, end = _DECODER.raw_decode(text, self._skip(0))
        except (ValueError, RecursionError) as error:
            raise SourceRefusedError(
                f"{what}: expected JSON, got something else: {str(error)[:80]}; check the path"
            ) from error
        if self._skip(end) != len(text):
            raise SourceRefusedError(f"{what}: expected one JSON value, got more behind it")

    def value(self, path: str) -> object:
        """Give what is at a path; None where there is nothing."""
        at = self._find(path)
        return None if at is None else _DECODER.raw_decode(self._text, at)[0]

    def records(self, path: str) -> list[str]:
        """Give the texts of the elements of the list at a path, which is empty for the answer.

        Raises:
            SourceRefusedError: There is no list.
        """
        at = self._find(path)
        if at is None or self._text[at] != "[":
            place = f"a list at `{path}`" if path else "a list"
            got = "nothing" if at is None else f"`{self._text[at : at + 40]}`"
            raise SourceRefusedError(
                f"{self._what}: expected {place}, got {got}; correct `source.http.records`"
            )
        return list(self._elements(at))

    def _elements(self, at: int) -> Iterator[str]:
        at = self._skip(at + 1)
        while self._text[at] != "]":
            _, end = _DECODER.raw_decode(self._text, at)
            yield self._text[at:end]
            at = self._skip(end)
            if self._text[at] == ",":
                at = self._skip(at + 1)

    def _find(self, path: str) -> int | None:
        """Find the first character of the value at a path; of a name that comes twice, the last."""
        at: int | None = self._skip(0)
        for name in path.split(".") if path else []:
            if at is None or self._text[at] != "{":
                return None
            at = self._member(at, name)
        return at

    def _member(self, at: int, wanted: str) -> int | None:
        found = None
        at = self._skip(at + 1)
        while self._text[at] != "}":
            name, at = _DECODER.raw_decode(self._text, at)
            at = self._skip(self._skip(at) + 1)
            if name == wanted:
                found = at
            _, at = _DECODER.raw_decode(self._text, at)
            at = self._skip(at)
            if self._text[at] == ",":
                at = self._skip(at + 1)
        return found

    def _skip(self, at: int) -> int:
        found = _BLANKS.match(self._text, at)
        return at if found is None else found.end()
