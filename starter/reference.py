"""Reference files on their way into the object store, where workers read them."""

from pathlib import Path

from common.errors import UsageError
from common.settings import Settings
from connectors.object_store import ObstoreStore
from pipelines.etl import Check, EtlSpec
from pipelines.reference_file import PREFIX, read_content, ref_of
from pipelines.stream import StreamSpec
from pipelines.transform import Enrich
from workers.wiring import object_store_url


async def freeze_references(spec: StreamSpec, file: Path, settings: Settings) -> None:
    """Store the content of every reference file that a stream looks rows up in; twice is once.

    Args:
        spec: The stream as it was read.
        file: Its file; paths are taken from its folder.
        settings: Where the object store is.

    Raises:
        UsageError: A file was changed since the stream was read.
    """
    look_ups = [step.enrich for step in spec.transform if step.enrich is not None]
    await _freeze(look_ups, file.parent, settings)


async def freeze_etl_references(spec: EtlSpec, settings: Settings) -> EtlSpec:
    """Store the content of every reference file that an ETL pipeline names; twice is once.

    Returns:
        The pipeline with the contents of its checks' files pinned.

    Raises:
        UsageError: A file was changed since the pipeline was read.
        PipelineSpecError: A file cannot be read.
    """
    folder = Path(spec.base_dir)
    look_ups = [step.enrich for step in spec.transform if step.enrich is not None]
    await _freeze(look_ups, folder, settings)
    store = ObstoreStore(object_store_url(settings), settings.object_store)
    checks: list[Check] = []
    for check in spec.gate:
        reference = check.reference
        if reference is not None and reference.file is not None:
            content = read_content(folder, reference.file)
            ref = await store.put(PREFIX, content, ref_of(reference.file, content).codec)
            reference = reference.model_copy(update={"content": ref})
        checks.append(check.model_copy(update={"reference": reference}))
    return spec.model_copy(update={"gate": checks})


async def _freeze(look_ups: list[Enrich], folder: Path, settings: Settings) -> None:
    if not look_ups:
        return
    store = ObstoreStore(object_store_url(settings), settings.object_store)
    for look_up in look_ups:
        content = read_content(folder, look_up.file)
        ref = ref_of(look_up.file, content)
        if ref != look_up.content:
            raise UsageError(
                f"reference file `{look_up.file}`: expected the content that was checked, got "
                "another one; it was changed meanwhile, start again"
            )
        await store.put(PREFIX, content, ref.codec)
