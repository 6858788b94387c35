"""The contract that a file names: read, with its problems at the place of its name."""

from pathlib import Path
from typing import Any

from common.errors import ContractSpecError, UnknownNameError
from contracts.contract import Contract
from contracts.document import MISSING, Document
from contracts.load import contract_for
from contracts.problem import Path as Place

Values = dict[str, Any]


def take_contract(document: Document, values: Values) -> bool:
    """Put the fields of the named contract, and what is pinned of it, into the source.

    Returns:
        Whether the file's other parts can be judged: not without the contract's fields.
    """
    source = values.get("source")
    if not isinstance(source, dict) or ("fields" in source and "contract" not in source):
        return True
    if "fields" in source or source.get("contract", MISSING) is MISSING:
        return False
    contract = read_contract(document, ("source", "contract"), source["contract"])
    if contract is None:
        return False
    source["fields"] = {field.name: field.type for field in contract.fields}
    source["contract"] = contract.pinned
    return True


def read_contract(document: Document, path: Place, name: str) -> Contract | None:
    """Read the contract of a name; None when there is none without mistakes, with the problem."""
    try:
        return contract_for(name, Path(document.file))
    except UnknownNameError as error:
        document.report(path, str(error))
    except ContractSpecError as error:
        first = str(error).splitlines()[0]
        document.report(
            path,
            f"expected a contract without mistakes, got some in `{name}`, the first is {first}; "
            "see `sluice contract validate`",
        )
    return None
