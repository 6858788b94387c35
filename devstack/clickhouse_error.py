"""ClickHouse's errors as its HTTP interface shows them: code, name, text and HTTP status."""

import re

_PATTERN = re.compile(r"Code: (\d+)\. (DB::.*)", re.DOTALL)

_STATUS = {
    400: (6, 26, 27, 32, 33, 36, 38, 41, 43, 53, 62, 70, 72, 117, 130, 131, 321, 427, 456, 457),
    403: (192, 193, 516),
    404: (16, 46, 47, 50, 56, 60, 63, 73, 81, 113, 114, 115, 372),
    408: (159,),
    413: (307,),
    501: (48,),
}
_STATUS_OF_CODE = {code: status for status, codes in _STATUS.items() for code in codes}


class ClickHouseError(Exception):
    """A statement or request failed; carries what the HTTP answer needs.

    Attributes:
        code: ClickHouse's error number.
        status: HTTP status.
        text: Body of the answer.
    """

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.status = _STATUS_OF_CODE.get(code, 500)
        self.text = text
        super().__init__(text)


def refusal(code: int, name: str, reason: str) -> ClickHouseError:
    """Compose an error that the front itself raises, in the engine's words."""
    return ClickHouseError(code, f"Code: {code}. DB::Exception: {reason}. ({name})")


def from_engine(error: Exception) -> ClickHouseError:
    """Read the engine's exception; a text without a code becomes 1002, unknown exception."""
    found = _PATTERN.search(str(error))
    if found is None:
        return refusal(
            1002, "UNKNOWN_EXCEPTION", str(error).strip().rstrip(".") or "no reason given"
        )
    return ClickHouseError(int(found.group(1)), found.group().strip())
