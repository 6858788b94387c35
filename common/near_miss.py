"""The suggestion at the end of a message about an unknown word."""

from collections.abc import Iterable
from difflib import get_close_matches


def near_miss(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that looks most like `word`; empty when none does.

    >>> near_miss("tumblng", ["tumbling", "sliding"])
    '; did you mean `tumbling`?'
    >>> near_miss("x", ["tumbling"])
    ''
    """
    close = get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""
