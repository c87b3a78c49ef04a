"""One boto3 client of Verified Permissions. Thread-safe, as boto3's clients are; sessions are not, so none is shared.

Source: boto3 documentation, "Credentials" (static, profile, web identity, container and instance roles) and
"Multithreading or multiprocessing with clients".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.aws.settings import AvpSettings
from authz.core.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from types_boto3_verifiedpermissions import VerifiedPermissionsClient


def avp_client(settings: AvpSettings) -> VerifiedPermissionsClient:
    """A client. Slow (boto3 reads its models): call it in a worker thread. Asks nothing of the network yet.

    Raises:
        Misconfigured: boto3 is not installed, no region is known, or the profile or endpoint is unusable.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise _wrong("Verified Permissions needs boto3: install `authz[avp]`") from None
    config = Config(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_pool_connections=settings.connections,
        retries={"mode": "standard", "total_max_attempts": settings.attempts},
        tcp_keepalive=True,
        user_agent_extra="authz",
    )
    try:
        session = boto3.session.Session(profile_name=settings.profile, region_name=settings.region)
        return session.client("verifiedpermissions", endpoint_url=settings.endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        raise _wrong(f"no client of Verified Permissions can be made: {error}") from None


def _wrong(message: str) -> Misconfigured:
    return Misconfigured((Problem(message=message),))
