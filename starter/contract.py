"""`sluice contract`: list, show and validate data contracts, print their JSON Schema."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.output import (
    Output,
    OutputFormat,
    SpecOutput,
    command_app,
    print_json,
    print_spec,
    print_table,
)

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.contract import Contract

app = command_app("List, show and validate data contracts.")

_COLUMNS = ("name", "version", "status", "owner", "description", "from")


def _project_dir() -> "Path":
    from common.settings_load import load_settings

    return load_settings().project_dir


def _values(contract: "Contract") -> dict[str, Any]:
    """Give what a contract says; what it does not say is left out."""
    values: dict[str, Any] = _said(contract.model_dump(mode="json"))
    for field in values["fields"]:
        for rule in field.get("rules", []):
            del rule["field"]
    return values


def _said(value: Any) -> Any:  # noqa: ANN401 - whatever a model dumps
    if isinstance(value, dict):
        parts = {name: _said(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part not in (None, "", [], False)}
    return [_said(part) for part in value] if isinstance(value, list) else value


@app.command("list")
def list_contracts(output: Output = OutputFormat.TABLE) -> None:
    """List the contracts of the project and of the shipped catalog.

    Example: sluice contract list -o json
    """
    from contracts.load import CATALOG_DIR, contract_files
    from contracts.odcs import check_contract

    rows = []
    for name, path in contract_files(_project_dir()).items():
        contract, problems = check_contract(path)
        wrong = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        hint = f"{wrong}, see `sluice contract validate {name}`"
        rows.append(
            {
                "name": name,
                "version": contract.version if contract else "",
                "status": contract.status if contract else "",
                "owner": contract.owner if contract else "",
                "description": contract.description if contract else hint,
                "from": "catalog" if path.parent == CATALOG_DIR else str(path),
            }
        )
    if output is OutputFormat.JSON:
        print_json(rows)
        return
    print_table(_COLUMNS, [[row[name] for name in _COLUMNS] for row in rows])


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a contract, or a path to its file")],
    output: Annotated[
        SpecOutput, typer.Option("-o", "--output", help="yaml or json")
    ] = SpecOutput.yaml,
) -> None:
    """Show a contract as pipelines take it: fields with their types and rules, keys, quality.

    Example: sluice contract show sales
    """
    from contracts.load import find_contract
    from contracts.odcs import load_contract

    print_spec(_values(load_contract(find_contract(name, _project_dir()))), output)


@app.command("validate")
def validate(
    names: Annotated[
        list[str], typer.Argument(metavar="PATH|NAME...", help="Names or paths; all must be right")
    ],
) -> None:
    """Check contracts, also whether queries can run; problems are printed with line and column.

    Exit code 2 when there is a problem.

    Example: sluice contract validate contracts/orders.yaml sales
    """
    from common.errors import ContractSpecError
    from contracts.load import find_contract
    from contracts.odcs import check_contract
    from contracts.problem import refuse
    from pipelines.contract_query import queries_that_cannot_run

    project_dir = _project_dir()
    paths = dict.fromkeys(find_contract(name, project_dir) for name in names)
    found = [check_contract(path, queries_that_cannot_run)[1] for path in paths]
    refuse([problem for problems in found for problem in problems], ContractSpecError)
    typer.echo(f"{len(paths)} contract{'' if len(paths) == 1 else 's'} ok")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a contract's file, for editors.

    Example: sluice contract schema > contract.schema.json
    """
    from contracts.schema import contract_schema_text

    typer.echo(contract_schema_text(), nl=False)
