"""Connections to Temporal."""

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from common.errors import FatalError, ServiceUnavailableError, SettingsError
from common.names import SEARCH_ATTRIBUTES
from common.payloads_converter import data_converter
from common.settings import TemporalSettings


async def connect(settings: TemporalSettings) -> Client:
    """Connect to the Temporal frontend.

    Raises:
        SettingsError: It has no address.
        ServiceUnavailableError: It does not answer.
    """
    if settings.address is None:
        raise SettingsError(
            "`temporal.address`: expected an address, got none; run `sluice up` or set it"
        )
    key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        return await Client.connect(
            settings.address,
            namespace=settings.namespace,
            data_converter=data_converter(),
            api_key=key,
            tls=settings.tls or key is not None,
        )
    except (RuntimeError, RPCError) as error:
        cause = str(error).splitlines()[0]
        raise ServiceUnavailableError("Temporal", settings.address, cause) from error


async def register_search_attributes(client: Client) -> None:
    """Make sure that the namespace knows our search attributes; doing it twice is doing it once.

    Raises:
        FatalError: The namespace does not let us add them.
        ServiceUnavailableError: Temporal does not answer.
    """
    operator = client.operator_service
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    try:
        known = await operator.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        missing = [name for name in SEARCH_ATTRIBUTES if name not in known.custom_attributes]
        if missing:
            await operator.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace,
                    search_attributes=dict.fromkeys(missing, keyword),
                )
            )
    except RPCError as error:
        if error.status == RPCStatusCode.ALREADY_EXISTS:  # another worker was quicker
            return
        if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED):
            address = client.service_client.config.target_host
            raise ServiceUnavailableError("Temporal", address, error.message) from error
        raise FatalError(
            f"search attributes {', '.join(SEARCH_ATTRIBUTES)}: expected namespace "
            f"`{client.namespace}` to take them, got {error.message}; add them as keywords with "
            "`temporal operator search-attribute create`"
        ) from error
