"""Steps out of checked values, and back into the words of their file."""

from typing import Any

from pipelines.python_function import code_of
from pipelines.transform import PythonCall, Step

Values = dict[str, Any]


def build_step(values: Values) -> Step:
    """Build a step; own functions get the hash of their code."""
    return Step(
        where=_value(values["where"]) if "where" in values else None,
        derive={name: _value(value) for name, value in values.get("derive", {}).items()},
        expand=values.get("expand", {}),
        enrich=values.get("enrich"),
    )


def _value(value: str | Values) -> str | PythonCall:
    if isinstance(value, str):
        return value
    return PythonCall(**value, code=code_of(value["python"]))


def render_step(step: Step) -> Values:
    """Write a step as in a file; hashes are left out."""
    given = step.model_dump(exclude_defaults=True)
    if isinstance(step.where, PythonCall):
        given["where"] = step.where.model_dump(include={"python", "args"})
    if step.derive:
        given["derive"] = {
            name: value.model_dump(exclude={"code"}) if isinstance(value, PythonCall) else value
            for name, value in step.derive.items()
        }
    if step.enrich is not None:
        given["enrich"] = step.enrich.model_dump(exclude={"content", "required"})
        if step.enrich.required:
            given["enrich"]["required"] = "true"
    return given
