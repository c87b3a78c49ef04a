"""What went wrong with a call to Verified Permissions, classified once.

By the error's code, never by its status: the API reference and the service disagree on those. An unknown code is a
`FAULT`: nobody knows whether it would help to ask again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from authz.core.errors import Misconfigured


class Kind(StrEnum):
    """What to do about a failed call."""

    UNREACHABLE = "unreachable"
    """No answer, or none that can be read: ask again later."""
    THROTTLED = "throttled"
    """Too many calls: wait, then ask again."""
    FAULT = "fault"
    """The service erred: ask again later."""
    CREDENTIALS = "credentials"
    """None found, expired, or refused: mend the credentials."""
    DENIED = "denied"
    """The role lacks a permission: mend the IAM policy."""
    SETTINGS = "settings"
    """There can be no client: mend the configuration."""
    MISSING = "missing"
    """There is no such policy store, policy or alias: mend the configuration."""
    INVALID = "invalid"
    """The input is refused: this question can have no answer."""
    CONFLICT = "conflict"
    """Something else has this name, or is changing: look again."""
    QUOTA = "quota"
    """A resource limit is reached."""


class AvpError(Exception):
    """A classified failure. Its words name the operation, and hold no value of the call."""

    def __init__(
        self, kind: Kind, operation: str, text: str, *, code: str = "", details: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(f"{operation}: {text}")
        self.kind = kind
        self.operation = operation
        self.code = code
        """The service's, or the name of the SDK's exception."""
        self.details = details
        """(path, message) of a validation failure, as the service words them; may quote input."""


_KINDS = {
    "ThrottlingException": Kind.THROTTLED,
    "TooManyRequestsException": Kind.THROTTLED,
    "InternalServerException": Kind.FAULT,
    "ValidationException": Kind.INVALID,
    # A request that is too large or cannot be read: who sends the values must not make an outage of it.
    "SerializationException": Kind.INVALID,
    "RequestEntityTooLargeException": Kind.INVALID,
    "413": Kind.INVALID,  # from what stands before the service; where an answer names no code, the SDK takes its status
    "AccessDeniedException": Kind.DENIED,
    "ResourceNotFoundException": Kind.MISSING,
    "ConflictException": Kind.CONFLICT,
    "InvalidStateException": Kind.CONFLICT,
    "ServiceQuotaExceededException": Kind.QUOTA,
    "ExpiredTokenException": Kind.CREDENTIALS,
    "ExpiredToken": Kind.CREDENTIALS,
    "UnrecognizedClientException": Kind.CREDENTIALS,
    "InvalidSignatureException": Kind.CREDENTIALS,
    "MissingAuthenticationTokenException": Kind.CREDENTIALS,
    "IncompleteSignature": Kind.CREDENTIALS,
    "InvalidClientTokenId": Kind.CREDENTIALS,
    "RequestExpired": Kind.CREDENTIALS,
    "OptInRequired": Kind.DENIED,
}


_CREDENTIAL_CALLS = frozenset(
    {"AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "GetRoleCredentials", "CreateToken"}
)
"""Operations of other services, by which the SDK gets credentials; whatever their error's code says, it is that."""


def classified(error: Exception, operation: str) -> AvpError:
    """Any exception of a boto3 call. What no call can raise is raised again as it is."""
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    if isinstance(error, AvpError):
        return error
    if isinstance(error, Misconfigured):
        return AvpError(Kind.SETTINGS, operation, str(error), code="Misconfigured")
    if isinstance(error, boto.ClientError):
        if error.operation_name in _CREDENTIAL_CALLS:
            return _no_credentials(error, operation, f"{error.operation_name} was refused")
        return _answered(error.response, operation)
    if isinstance(error, boto.BotoCoreError):  # before OSError, which some of them are
        return _of_sdk(error, operation)
    if isinstance(error, RecursionError):
        return AvpError(Kind.INVALID, operation, "a value is nested too deeply", code="RecursionError")
    if isinstance(error, OSError):
        # The SDK reads token files (web identity, Pod Identity) with each renewal, and lets their errors through.
        return _no_credentials(error, operation, "a file of the credentials cannot be read")
    if isinstance(error, (ResponseParserError, ValueError, TypeError, AttributeError, KeyError)):
        # What is JSON, and no object, the SDK takes apart as if it were one.
        text = f"the answer cannot be read ({type(error).__name__})"
        return AvpError(Kind.UNREACHABLE, operation, text, code=type(error).__name__)
    raise error


def _of_sdk(error: Exception, operation: str) -> AvpError:
    from botocore import exceptions as boto

    if isinstance(error, boto.ParamValidationError):
        return AvpError(Kind.INVALID, operation, "the SDK refuses the input", code="ParamValidation")
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)):
        text = "see boto3's chain (environment, profile, web identity, container, instance role)"
        return _no_credentials(error, operation, text)
    if isinstance(error, (boto.TokenRetrievalError, boto.UnauthorizedSSOTokenError, boto.SSOTokenLoadError)):
        return _no_credentials(error, operation, "the credentials' own token cannot be had")
    if isinstance(error, (boto.MetadataRetrievalError, boto.RefreshWithMFAUnsupportedError, boto.InvalidConfigError)):
        return _no_credentials(error, operation, "they cannot be had or renewed")
    text = f"no answer ({type(error).__name__})"
    return AvpError(Kind.UNREACHABLE, operation, text, code=type(error).__name__)


def _no_credentials(error: Exception, operation: str, text: str) -> AvpError:
    return AvpError(Kind.CREDENTIALS, operation, f"no credentials: {text}", code=type(error).__name__)


def _answered(response: Mapping[str, Any], operation: str) -> AvpError:
    error = response.get("Error", {})
    code = str(error.get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind = _KINDS.get(code)
    if kind is None:
        kind = Kind.THROTTLED if status == 429 else Kind.FAULT
    fields = response.get("fieldList") or ()
    details = tuple(
        (str(one.get("path", "")), str(one.get("message", ""))) for one in fields if isinstance(one, Mapping)
    )
    return AvpError(kind, operation, f"{code or status} ({kind.value})", details=details, code=code)
