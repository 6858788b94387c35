"""`sluice pipelines`: list, show and validate pipelines, print their JSON Schema."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from starter.output import SpecOutput, print_spec

app = typer.Typer(
    help="List, show and validate pipelines.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


class TableOutput(StrEnum):
    """How a list is printed."""

    table = "table"
    json = "json"


def _project_dir() -> Path:
    from common.settings_load import load_settings
    from pipelines.python_function import use_project

    folder = load_settings().project_dir
    use_project(folder)
    return folder


@app.command("list")
def list_pipelines(
    output: Annotated[
        TableOutput, typer.Option("-o", "--output", help="table or json")
    ] = TableOutput.table,
) -> None:
    """List the pipelines of the project and of the shipped catalog.

    Example: sluice pipelines list -o json
    """
    import json

    from pipelines.load import CATALOG_DIR, check_pipeline, pipeline_files

    rows = []
    for name, path in pipeline_files(_project_dir()).items():
        spec, problems = check_pipeline(path)
        wrong = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        hint = f"{wrong}, see `sluice pipelines validate {name}`"
        rows.append(
            {
                "name": name,
                "kind": spec.kind if spec else "",
                "description": spec.description if spec else hint,
                "from": "catalog" if path.parent == CATALOG_DIR else str(path),
            }
        )
    if output is TableOutput.json:
        typer.echo(json.dumps(rows, indent=2))
        return
    heads = {"name": "NAME", "kind": "KIND", "description": "DESCRIPTION", "from": "FROM"}
    widths = {key: max(len(row[key]) for row in [heads, *rows]) for key in heads}
    for row in [heads, *rows]:
        typer.echo("  ".join(row[key].ljust(widths[key]) for key in heads).rstrip())


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a pipeline, or a path to its file")],
    output: Annotated[
        SpecOutput, typer.Option("-o", "--output", help="yaml or json")
    ] = SpecOutput.yaml,
) -> None:
    """Show a pipeline as it will run, every default written out.

    Example: sluice pipelines show sales-1m
    """
    from pipelines.load import KINDS, find_pipeline, load_pipeline

    spec = load_pipeline(find_pipeline(name, _project_dir()))
    print_spec(KINDS[spec.kind].render(spec), output)


@app.command("validate")
def validate(
    names: Annotated[
        list[str], typer.Argument(metavar="PATH|NAME...", help="Names or paths; all must be right")
    ],
) -> None:
    """Check pipelines without starting anything; every problem is printed with line and column.

    Exit code 2 when there is a problem.

    Example: sluice pipelines validate ./my-stream.yaml sales-1m
    """
    from contracts.problem import refuse
    from pipelines.load import check_pipeline, find_pipeline

    project_dir = _project_dir()
    paths = [find_pipeline(name, project_dir) for name in names]
    refuse([problem for path in dict.fromkeys(paths) for problem in check_pipeline(path)[1]])
    count = len(set(paths))
    typer.echo(f"{count} pipeline{'' if count == 1 else 's'} ok")


@app.command("schema")
def schema(
    kind: Annotated[str, typer.Argument(help="Kind of pipeline")] = "stream",
) -> None:
    """Print the JSON Schema of a kind of pipeline file, for editors.

    Example: sluice pipelines schema stream > stream.schema.json
    """
    from common.errors import UnknownNameError
    from common.near_miss import near_miss
    from pipelines.load import KINDS
    from pipelines.schema import schema_text

    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise UnknownNameError(
            f"kind `{kind}`: expected one of {known}, got none of them{near_miss(kind, KINDS)}"
        )
    typer.echo(schema_text(kind), nl=False)
