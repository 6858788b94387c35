import sys
from pathlib import Path

import polars as pl
import pytest

from common.errors import UserFunctionError
from contracts.problem import report
from pipelines.load import check_pipeline
from pipelines.python_function import check_function, code_of, load_function, use_project
from pipelines.stream import StreamSpec
from pipelines.transform import PythonCall
from tests.unit.pipelines.stream_file import write
from tests.unit.python_project import RULES, Project, project

__all__ = ["project"]

AMOUNTS = pl.Series([1.5])
COUNTRY = pl.Series(["de"])


def test_function_of_the_project_is_loaded_and_called(project: Project) -> None:
    function = load_function(project.call("score"))
    assert function(AMOUNTS, COUNTRY).to_list() == [3.0]


def test_folder_of_the_project_is_the_last_place_to_look(project: Project) -> None:
    use_project(project.folder)
    assert sys.path[-1] == str(project.folder.resolve())
    assert sys.path.count(str(project.folder.resolve())) == 1


def test_a_module_of_the_project_never_shadows_one_of_sluice(project: Project) -> None:
    (project.folder / "common").mkdir()
    (project.folder / "common" / "mine.py").write_text("def f(x): return x\n")
    with pytest.raises(UserFunctionError, match="`common` is a package of Sluice itself"):
        check_function("common.mine.f", 1)


@pytest.mark.parametrize(
    ("path", "arguments", "text"),
    [
        ("nowhere.f", 1, "expected a module to import, got No module named 'nowhere'"),
        ("ownshop.nothing.f", 1, "got No module named 'ownshop.nothing'"),
        ("ownshop.scoring.nothing", 1, "expected a function `nothing` in .*, got nothing of that"),
        ("ownshop.scoring.VALUE", 1, "got a int"),
        ("ownshop.scoring.score", 1, r"takes 1 arguments, got `score\(amount, country\)`"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused(
    project: Project, path: str, arguments: int, text: str
) -> None:
    assert project.folder.exists()
    with pytest.raises(UserFunctionError, match=text):
        check_function(path, arguments)


def test_a_module_that_fails_or_exits_is_refused_with_its_reason(project: Project) -> None:
    for text, reason in [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
    ]:
        project.write("broken", text)
        with pytest.raises(UserFunctionError, match=reason):
            check_function("ownshop.broken.f", 1)


def test_code_is_that_of_the_whole_package(project: Project) -> None:
    before = code_of("ownshop.scoring.score")
    assert code_of("ownshop.scoring.is_good") == before
    project.write("rules", "FACTOR = 30.0\n")
    assert code_of("ownshop.scoring.score") != before
    project.write("rules", RULES)
    assert code_of("ownshop.scoring.score") == before


def test_other_code_than_that_of_the_start_is_refused_and_new_code_is_loaded(
    project: Project,
) -> None:
    old = project.call("score")
    first = load_function(old)
    project.write("rules", "FACTOR = 30.0\n")
    new = project.call("score")
    assert load_function(new)(AMOUNTS, COUNTRY).to_list() == [45.0]
    # What was loaded is still what it was.
    assert load_function(old)(AMOUNTS, COUNTRY).to_list() == [3.0]
    assert first(AMOUNTS, COUNTRY).to_list() == [3.0]
    with pytest.raises(UserFunctionError, match="expected the code that the stream was started"):
        load_function(PythonCall(python="ownshop.scoring.is_good", args=["a"], code=old.code))


def test_calls_of_a_file_are_checked_and_know_their_code(project: Project) -> None:
    path = write(
        project.folder,
        ("where: amount > 0", "where: {python: ownshop.scoring.is_good, args: [amount * 2]}"),
        (
            "{euros: amount * 0.92}",
            "{euros: {python: ownshop.scoring.score, args: [amount, category], returns: float64?}}",
        ),
        ("sum(amount)", "sum(euros)"),
    )
    spec, problems = check_pipeline(path)
    assert problems == []
    assert isinstance(spec, StreamSpec)
    call = spec.derive["euros"]
    assert isinstance(call, PythonCall)
    assert call.code == code_of("ownshop.scoring.score")
    project.write("rules", "FACTOR = 30.0\n")
    changed, _ = check_pipeline(path)
    assert changed is not None
    assert changed.result_hash() != spec.result_hash()


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (
            "{python: ownshop.scoring.nothing, args: [amount], returns: float64}",
            "13:26  derive.euros.python: function `ownshop.scoring.nothing`: expected a function",
        ),
        (
            "{python: ownshop.scoring.score, args: [amount, weigt], returns: float64}",
            "derive.euros.args[1]: `weigt`: no field `weigt` in `source.fields`; did you mean",
        ),
        ("{python: ownshop.scoring.score, args: [amount, weight]}", "derive.euros.returns: expec"),
        ("{python: score, args: [amount], returns: int64}", "derive.euros.python: expected where"),
        (
            "{python: ownshop.scoring.is_good, args: [amount], returns: json}",
            "derive.euros.returns: expected a type whose values can be checked, got `json`",
        ),
        ("{python: ownshop.scoring.is_good, args: [], returns: bool}", "args: expected at least 1"),
        ("[1]", "derive.euros: expected an SQL expression, got a list"),
    ],
)
def test_a_wrong_call_is_told_with_its_place(project: Project, call: str, problem: str) -> None:
    _, problems = check_pipeline(write(project.folder, ("amount * 0.92", call)))
    assert problem in report(problems)


def test_bytes_of_a_module_decide_and_not_its_place(project: Project, tmp_path: Path) -> None:
    before = code_of("ownshop.scoring.score")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (project.folder / "ownshop").rename(moved / "ownshop")
    use_project(moved)
    assert code_of("ownshop.scoring.score") == before
