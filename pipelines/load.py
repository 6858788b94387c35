"""Pipelines by name or path, from the project, then the shipped catalog: read and checked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode

from common.errors import PipelineSpecError, UnknownNameError
from common.near_miss import near_miss
from contracts.document import MISSING, Document, compose, entries, read, scalar_text
from contracts.problem import Problem, refuse
from contracts.shape import Options
from pipelines.etl import EtlSpec
from pipelines.etl_build import build_etl, placed
from pipelines.etl_check import check_etl
from pipelines.etl_render import render_etl
from pipelines.etl_shape import ETL
from pipelines.stream import StreamSpec
from pipelines.stream_build import build_stream
from pipelines.stream_check import check_stream
from pipelines.stream_render import render_stream
from pipelines.stream_shape import STREAM

CATALOG_DIR = Path(__file__).parent / "catalog"
PROJECT_FOLDER = "pipelines"

PipelineSpec = StreamSpec | EtlSpec
"""Any kind's specification."""


@dataclass(frozen=True)
class PipelineKind:
    """How files of one kind are read.

    Attributes:
        check: Records what is wrong between the parts.
        build: Makes the specification out of values that passed.
        render: Writes a specification as the content of a file.
    """

    shape: Options
    check: Callable[[Document, dict[str, Any]], None]
    build: Callable[[dict[str, Any]], PipelineSpec]
    render: Callable[[Any], dict[str, Any]]


KINDS: dict[str, PipelineKind] = {
    "stream": PipelineKind(STREAM, check_stream, build_stream, render_stream),
    "etl": PipelineKind(ETL, check_etl, build_etl, render_etl),
}


def check_pipeline(path: Path) -> tuple[PipelineSpec | None, list[Problem]]:
    """Read a pipeline file and collect every problem; no specification when there is one."""
    document = Document(str(path))
    node = compose(path, document, "a pipeline that begins with `kind:` and `name:`")
    if node is None:
        return None, document.problems
    given = {name: value for name, _, value in entries(Document(str(path)), node, ())}
    kind = scalar_text(given["kind"]) if "kind" in given else None
    if kind not in KINDS:
        document.locate((), node)
        if "kind" in given:
            document.locate(("kind",), given["kind"])
        hint = near_miss(kind or "", KINDS)
        document.report(
            ("kind",),
            f"expected one of {', '.join(KINDS)}, got {f'`{kind}`' if kind else 'none'}{hint}",
        )
        return None, document.problems
    return _check_kind(document, node, KINDS[kind])


def _check_kind(
    document: Document, node: MappingNode, kind: PipelineKind
) -> tuple[PipelineSpec | None, list[Problem]]:
    values = read(document, node, kind.shape)
    if values is MISSING:
        return None, document.problems
    kind.check(document, values)
    _check_name(document, values.get("name"))
    if document.problems:
        return None, document.problems
    return kind.build(values), document.problems


def _check_name(document: Document, name: object) -> None:
    """Where pipelines are found by the name of their file, the file must say the same name."""
    path = Path(document.file).resolve()
    if path.parent.name not in {PROJECT_FOLDER, CATALOG_DIR.name} or not isinstance(name, str):
        return
    if name != path.stem:
        document.report(("name",), f"expected `{path.stem}`, the name of its file, got `{name}`")


def load_pipeline(path: Path) -> PipelineSpec:
    """Read and check a pipeline file of any kind.

    Raises:
        PipelineSpecError: With all problems of the file, each with line and column.
    """
    spec, problems = check_pipeline(path)
    refuse(problems)
    if spec is None:
        raise PipelineSpecError(f"pipeline file {path}: expected a specification, got none")
    return spec


def load_stream(path: Path) -> StreamSpec:
    """Read and check a stream's file; raises as `load_pipeline`, and when it is of another kind."""
    spec = load_pipeline(path)
    if not isinstance(spec, StreamSpec):
        raise _other_kind(path, spec, "stream")
    return spec


def load_etl(path: Path) -> EtlSpec:
    """Read and check an ETL file; raises as `load_pipeline`, and when it is of another kind."""
    spec = load_pipeline(path)
    if not isinstance(spec, EtlSpec):
        raise _other_kind(path, spec, "etl")
    return placed(spec, path)


def _other_kind(path: Path, spec: PipelineSpec, wanted: str) -> PipelineSpecError:
    return PipelineSpecError(
        f"pipeline file {path}: expected `kind: {wanted}`, got `kind: {spec.kind}`; use "
        f"`sluice {spec.kind}` for it, or name another pipeline"
    )


def pipeline_files(project_dir: Path | None) -> dict[str, Path]:
    """List the pipelines by name; the project's `pipelines/` goes before the shipped catalog."""
    found: dict[str, Path] = {}
    folders = [CATALOG_DIR] if project_dir is None else [project_dir / PROJECT_FOLDER, CATALOG_DIR]
    for folder in folders:
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def is_pipeline_path(name_or_path: str) -> bool:
    """Tell whether a word stands for a file rather than for a name."""
    return name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path


def find_pipeline(name_or_path: str, project_dir: Path | None) -> Path:
    """Find the file of a pipeline given by name or path.

    A word that ends in .yaml or .yml or holds a slash is a path; everything else is the name of a
    file in the project's `pipelines/` or in the shipped catalog.

    Raises:
        UnknownNameError: There is none; the message names a near miss.
    """
    if is_pipeline_path(name_or_path):
        path = Path(name_or_path)
        if not path.is_file():
            raise UnknownNameError(
                f"pipeline file `{name_or_path}`: expected a file, got none; check the path"
            )
        return path
    known = pipeline_files(project_dir)
    if name_or_path not in known:
        hint = near_miss(name_or_path, known) or f"; known are {', '.join(known) or 'none'}"
        raise UnknownNameError(
            f"pipeline `{name_or_path}`: expected a name from `sluice pipelines list` "
            f"or a path to a .yaml file, got neither{hint}"
        )
    return known[name_or_path]
