"""Connections to Temporal."""

from temporalio.client import Client
from temporalio.service import RPCError

from common.errors import ServiceUnavailableError, SettingsError
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
