"""The command `sluice`: codes, messages, and a start that loads nothing heavy."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer

from common.errors import FatalError, ServiceUnavailableError, SluiceError, UnknownNameError
from starter import main
from starter.main import COMMANDS, Entry, run

HEAVY = ("polars", "temporalio", "numba", "numpy", "pyarrow", "rich", "sqlglot", "pydantic")


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_overview_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys; from starter.main import run; "
        f"run({arguments!r}); print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = python(code, tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted({"stream", "generate", "worker", "pipelines", "up"}))
def test_help_of_a_command_imports_no_engine(tmp_path: Path, name: str) -> None:
    heavy = ("polars", "temporalio", "numba", "pyarrow")
    code = (
        "import sys; from starter.main import run; "
        f"code = run([{name!r}, '--help']); print(code, [m for m in {heavy!r} if m in sys.modules])"
    )
    assert python(code, tmp_path).stdout.splitlines()[-1] == "0 []"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_no_arguments_is_usage_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert "Usage: sluice" in out.err


def test_unknown_command_has_a_near_miss(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["straem"]) == 2
    assert "did you mean `stream`?" in capsys.readouterr().err


def app_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def boom(count: int = 1) -> None:
        assert count == 1
        raise error

    module = types.ModuleType("starter.boom")
    module.__dict__["app"] = app
    monkeypatch.setitem(sys.modules, "starter.boom", module)
    monkeypatch.setitem(main.COMMANDS, "boom", Entry("starter.boom", "boom", "Fail."))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UnknownNameError("pipeline `x`: none"), 2, "error: pipeline `x`: none\n"),
        (FatalError("broken"), 1, "error: broken\n"),
        (SluiceError("broken"), 1, "error: broken\n"),
        (ServiceUnavailableError("Kafka", "h:1", "refused"), 1, "start the stack with `sluice up`"),
        (typer.Exit(6), 6, ""),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device"), 1, "error: disk full"),
        (ZeroDivisionError("oops"), 1, "ZeroDivisionError: oops"),
    ],
)
def test_error_becomes_one_message_and_a_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    app_that_raises(monkeypatch, error)
    assert run(["boom"]) == code
    text = capsys.readouterr().err
    assert message in text
    assert ("Traceback" in text) == isinstance(error, ZeroDivisionError)


def test_wrong_option_is_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app_that_raises(monkeypatch, FatalError("never"))
    assert run(["boom", "--count", "x"]) == 2
    assert "--count" in capsys.readouterr().err


def test_reader_that_went_away_is_no_error_message(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m starter.main settings -o json | true"
    code = f"import subprocess; print(subprocess.run({command!r}, shell=True, capture_output=True))"
    done = python(code, tmp_path)
    assert "Traceback" not in done.stdout
    assert "BrokenPipe" not in done.stdout


def test_answers_and_progress_keep_their_order_in_a_file(tmp_path: Path) -> None:
    """A redirected demo showed every table at the very end, after all progress."""
    code = (
        "import sys; from starter import main as m; "
        "m.run = lambda _: print('answer') or sys.stderr.write('progress\\n') and 0; m.main([])"
    )
    with (tmp_path / "log").open("w+") as log:
        subprocess.run(
            [sys.executable, "-c", code],
            env={name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stdout=log,
            stderr=log,
            check=False,
        )
        log.seek(0)
        assert log.read().split() == ["answer", "progress"]


@pytest.mark.parametrize("arguments", [["alerts"], ["alerts", "--limit", "many"]])
def test_process_ends_without_waiting_for_native_threads(
    tmp_path: Path, arguments: list[str]
) -> None:
    """Threads of the object store's driver aborted the ending interpreter: exit code 134, after
    all was printed, in one of ten calls on a busy machine."""
    code = (
        "import atexit, obstore; from starter.main import main; "
        f"atexit.register(print, 'the interpreter ended'); main({arguments!r})"
    )
    done = python(code, tmp_path)
    assert done.returncode == (0 if arguments == ["alerts"] else 2), done.stderr
    assert "the interpreter ended" not in done.stdout
