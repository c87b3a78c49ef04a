"""One boto3 client of Verified Permissions. Thread-safe, as boto3's clients are; sessions are not, so none is shared.

Source: boto3 documentation, "Credentials" (static, profile, web identity, container and instance roles) and
"Multithreading or multiprocessing with clients".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from authz.aws.errors import classified
from authz.aws.settings import AvpSettings
from authz.core.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from types_boto3_verifiedpermissions import VerifiedPermissionsClient


def avp_client(settings: AvpSettings) -> VerifiedPermissionsClient:
    """A client. Slow (boto3 reads its models): call it in a worker thread.

    In a container or on an instance the SDK gets credentials at once, of the agent or the metadata service; all else
    it asks with the first call.

    Raises:
        Misconfigured: boto3 is not installed, no region is known, or the profile or endpoint is unusable.
        AvpError: `credentials`, where those cannot be had now; later they may.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import (
            BotoCoreError,
            CredentialRetrievalError,
            MetadataRetrievalError,
            NoRegionError,
        )
    except ImportError:
        raise _wrong("Verified Permissions needs boto3: install `authz[avp]`") from None
    config = Config(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_pool_connections=settings.connections,
        parameter_validation=settings.validate,
        retries={"mode": "standard", "total_max_attempts": settings.attempts},
        tcp_keepalive=True,
        # A fixed text: boto3's own is put together anew twice for each call, which takes a twentieth of its time.
        user_agent=f"authz Boto3/{boto3.__version__}",
    )
    try:
        # boto3 itself reads `AWS_DEFAULT_REGION` only; all other SDKs, and so the platforms, say `AWS_REGION`.
        region = settings.region or os.environ.get("AWS_REGION")
        session = boto3.session.Session(profile_name=settings.profile, region_name=region)
        return session.client("verifiedpermissions", endpoint_url=settings.endpoint, config=config)
    except (CredentialRetrievalError, MetadataRetrievalError, OSError) as error:
        raise classified(error, "credentials") from None
    except NoRegionError:
        text = "no region is known: set `policies.verified_permissions.region` (or `--region`), or AWS_REGION"
        raise _wrong(text) from None
    except (BotoCoreError, ValueError) as error:
        raise _wrong(f"no client of Verified Permissions can be made: {error}") from None


def _wrong(message: str) -> Misconfigured:
    return Misconfigured((Problem(message=message),))
