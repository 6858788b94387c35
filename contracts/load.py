"""Contracts by name or path, from a project, then the shipped catalog."""

from pathlib import Path

from common.errors import UnknownNameError
from common.near_miss import near_miss
from contracts.contract import Contract
from contracts.odcs import SUFFIXES, contract_name, load_contract

CATALOG_DIR = Path(__file__).parent / "catalog"
PROJECT_FOLDER = "contracts"


def contract_files(project_dir: Path | None) -> dict[str, Path]:
    """List the contracts by name; the project's `contracts/` goes before the shipped catalog."""
    folders = [] if project_dir is None else [project_dir / PROJECT_FOLDER]
    return _files([*folders, CATALOG_DIR])


def find_contract(name_or_path: str, project_dir: Path | None) -> Path:
    """Find the file of a contract given by name or path.

    A word that ends in .yaml or .yml or holds a slash is a path; everything else is the name of a
    file in the project's `contracts/` or in the shipped catalog.

    Raises:
        UnknownNameError: There is none; the message names a near miss.
    """
    if name_or_path.endswith(SUFFIXES) or "/" in name_or_path:
        path = Path(name_or_path)
        if not path.is_file():
            raise UnknownNameError(
                f"contract file `{name_or_path}`: expected a file, got none; check the path"
            )
        return path
    return _known(name_or_path, contract_files(project_dir))


def contract_for(name: str, pipeline_file: Path) -> Contract:
    """Read the contract that a pipeline names.

    It is looked for in the folder `contracts/` beside the pipeline's file, then beside the folder
    that the file is in, then in the shipped catalog.

    Raises:
        UnknownNameError: There is none; the message names a near miss.
        ContractSpecError: With all problems of the contract's file.
    """
    folder = pipeline_file.resolve().parent
    places = [folder / PROJECT_FOLDER, folder.parent / PROJECT_FOLDER, CATALOG_DIR]
    return load_contract(_known(name, _files(places)))


def _files(folders: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            found.setdefault(contract_name(path), path)
    return dict(sorted(found.items()))


def _known(name: str, files: dict[str, Path]) -> Path:
    if name not in files:
        hint = near_miss(name, files) or f"; known are {', '.join(files) or 'none'}"
        raise UnknownNameError(
            f"contract `{name}`: expected a file contracts/{name}.yaml of the project, or a name "
            f"from `sluice contract list`, got neither{hint}"
        )
    return files[name]
