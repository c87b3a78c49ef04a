"""The errors of the service, one class a shape, and how each is told on the wire.

Statuses are the Smithy model's (`httpError`), as live answers have them; the API reference prints 400 for nearly all.
The name is in the body (`__type`), since SDKs read it there and not in a header.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

SERVICE_CODE = "verifiedpermissions"


class Field(NamedTuple):
    """What is wrong with one member of the input."""

    path: str
    """A JSON pointer, such as `/definition/static/statement`."""
    message: str


class Resource(NamedTuple):
    """What an error is about."""

    id: str
    type: str
    """A `ResourceType`: `POLICY_STORE`, `POLICY`, `POLICY_TEMPLATE`, `IDENTITY_SOURCE`, `SCHEMA`, …"""


class EmulatorError(Exception):
    """An answer that is an error. Raised by any handler; told to the client as it is."""

    name: ClassVar[str]
    status: int

    def __init__(self, message: str, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.members = dict(members or {})

    def body(self) -> dict[str, Any]:
        """The body's members."""
        return {"__type": self.name, "message": self.message, **self.members}


class ValidationError(EmulatorError):
    """The input is refused. `fields` tells where; without any the message stands alone."""

    name = "ValidationException"
    status = 400

    def __init__(self, fields: Iterable[tuple[str, str]] = (), *, message: str = "Invalid input") -> None:
        self.fields = tuple(Field(*field) for field in fields)
        told = [{"path": field.path, "message": field.message} for field in self.fields]
        super().__init__(message, {"fieldList": told} if told else None)


class ResourceNotFound(EmulatorError):
    """There is no such resource."""

    name = "ResourceNotFoundException"
    status = 404

    def __init__(self, resource: Resource) -> None:
        what = _WORDS.get(resource.type, resource.type)
        super().__init__(
            f"{what} with id '{resource.id}' not found", {"resourceId": resource.id, "resourceType": resource.type}
        )


class Conflict(EmulatorError):
    """Something else has this name, or this token."""

    name = "ConflictException"
    status = 409

    def __init__(self, message: str, resources: Iterable[Resource] = ()) -> None:
        told = [{"resourceId": one.id, "resourceType": one.type} for one in resources]
        super().__init__(message, {"resources": told})


class InvalidState(EmulatorError):
    """The resource is not in a state for this operation."""

    name = "InvalidStateException"
    status = 406


class ServiceQuotaExceeded(EmulatorError):
    """A limit of resources is reached."""

    name = "ServiceQuotaExceededException"
    status = 402

    def __init__(self, message: str, resource: Resource) -> None:
        members = {"resourceType": resource.type, "serviceCode": SERVICE_CODE}
        super().__init__(message, members | ({"resourceId": resource.id} if resource.id else {}))


class Throttling(EmulatorError):
    """Too many calls; the same call may be made again."""

    name = "ThrottlingException"
    status = 429

    def __init__(self, message: str = "Rate exceeded") -> None:
        super().__init__(message, {"serviceCode": SERVICE_CODE})


class TooManyTags(EmulatorError):
    """A resource would have more than fifty tags."""

    name = "TooManyTagsException"
    status = 400

    def __init__(self, resource_arn: str) -> None:
        super().__init__("Too many tags: a resource has at most 50", {"resourceName": resource_arn})


class AccessDenied(EmulatorError):
    """The caller may not do this."""

    name = "AccessDeniedException"
    status = 403


class InternalServer(EmulatorError):
    """The service failed."""

    name = "InternalServerException"
    status = 500

    def __init__(self, message: str = "Internal server error", *, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class ExpiredToken(EmulatorError):
    """The caller's credentials have expired (common errors)."""

    name = "ExpiredTokenException"
    status = 403

    def __init__(self) -> None:
        super().__init__("The security token included in the request is expired")


class MissingAuthenticationToken(EmulatorError):
    """The request is not signed (common errors)."""

    name = "MissingAuthenticationTokenException"
    status = 403

    def __init__(self) -> None:
        super().__init__("Missing Authentication Token")


class UnknownOperation(EmulatorError):
    """There is no such operation, or the request is none of this protocol."""

    name = "UnknownOperationException"
    status = 404


class Serialization(EmulatorError):
    """The body cannot be read (Smithy, awsJson1_0)."""

    name = "SerializationException"
    status = 400


_WORDS = {
    "POLICY_STORE": "Policy store",
    "POLICY": "Policy",
    "POLICY_TEMPLATE": "Policy template",
    "IDENTITY_SOURCE": "Identity source",
    "SCHEMA": "Schema of policy store",
    "POLICY_STORE_ALIAS": "Policy store alias",
}
