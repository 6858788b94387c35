"""Problems of a file that a user wrote: collected with their place, reported all at once."""

from dataclasses import dataclass

from common.errors import PipelineSpecError, UsageError

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake in a file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    path: str
    text: str

    @property
    def place(self) -> str:
        """Write `file:line:column`, which editors and terminals can jump to."""
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def claim(self) -> str:
        """Write `path: text`, or the text alone of a problem of the whole file."""
        return f"{self.path}: {self.text}" if self.path else self.text


def path_text(path: Path) -> str:
    """Write a path through a document: `sinks[0].clickhouse.table`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def report(problems: list[Problem]) -> str:
    """Write all problems, one a line, in the order of the file, and the closing line."""
    width = max((len(problem.place) for problem in problems), default=0)
    ordered = sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
    lines = [f"{problem.place:<{width}}  {problem.claim}" for problem in ordered]
    count = len(problems)
    return "\n".join([*lines, f"{count} problem{'' if count == 1 else 's'}, nothing started"])


def refuse(problems: list[Problem], error: type[UsageError] = PipelineSpecError) -> None:
    """Raise an error of the given class with the report when there are problems."""
    if problems:
        raise error(report(problems))
