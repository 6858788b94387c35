import subprocess
import sys
from pathlib import Path

from tests.architecture.source import ROOT, packages, project


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_imports_point_one_way_and_drivers_stay_in_their_place() -> None:
    result = lint_imports(ROOT)

    assert result.returncode == 0, result.stdout[result.stdout.find("Broken contracts") :]


def test_contracts_are_broken_by_a_driver_in_an_activity(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for package in packages():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "activities/load.py").write_text("import connectors.clickhouse\n")
    (tmp_path / "connectors/clickhouse.py").write_text("import clickhouse_connect\n")

    result = lint_imports(tmp_path)

    assert result.returncode == 1
    assert "activities is not allowed to import connectors" in result.stdout
    assert "activities is not allowed to import clickhouse_connect" in result.stdout


def test_contracts_cover_every_package_of_the_project() -> None:
    covered = project()["tool"]["importlinter"]
    layers = {
        name.strip() for line in covered["contracts"][0]["layers"] for name in line.split("|")
    }

    assert set(covered["root_packages"]) == set(packages())
    assert layers == set(packages())


def test_ruff_and_import_linter_know_the_same_drivers() -> None:
    tools = project()["tool"]
    banned = tools["ruff"]["lint"]["flake8-tidy-imports"]["banned-module-level-imports"]

    for contract in tools["importlinter"]["contracts"]:
        if contract["id"] in ("drivers", "no-driver-in-a-workflow"):
            assert set(contract["forbidden_modules"]) == set(banned)
