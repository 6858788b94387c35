"""`sluice settings`: the effective settings with the place each value came from."""

from typing import Annotated

import typer

from starter.output import Output, OutputFormat, command_app, print_json, print_table

app = command_app(
    """Show the effective settings.

    Example: sluice settings
    """
)


@app.command()
def settings(
    section: Annotated[str | None, typer.Argument(help="Section to show; all without.")] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show every setting with its value and where that comes from.

    A place is a variable, a line of sluice.toml, the record of the stack, or the default.
    Secrets are masked.

    Example: sluice settings kafka -o json
    """
    from common.errors import UnknownNameError
    from common.near_miss import near_miss
    from common.settings import Settings
    from common.settings_load import load_with_origins

    if section is not None and section not in Settings.model_fields:
        known = list(Settings.model_fields)
        raise UnknownNameError(
            f"section `{section}`: expected one of {', '.join(known)}{near_miss(section, known)}"
        )
    loaded = load_with_origins()
    tree = loaded.settings.model_dump(mode="json", include={section} if section else None)
    if output is OutputFormat.JSON:
        print_json(tree)
        return
    rows = [
        [".".join(keys), _shown(value), loaded.origins.get(keys, "default")]
        for keys, value in _leaves(tree, ())
    ]
    print_table(["setting", "value", "from"], rows)


def _leaves(
    tree: dict[str, object], above: tuple[str, ...]
) -> list[tuple[tuple[str, ...], object]]:
    found: list[tuple[tuple[str, ...], object]] = []
    for key, value in tree.items():
        path = (*above, key)
        found += _leaves(value, path) if isinstance(value, dict) else [(path, value)]
    return found


def _shown(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
