"""What a refused call looks like to a boto3 client."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError


class Refusal(NamedTuple):
    code: str
    status: int
    fields: list[tuple[str, str]]
    response: dict[str, Any]


def refused(call: Callable[..., Any], **given: Any) -> Refusal:
    with pytest.raises(ClientError) as error:
        call(**given)
    response: dict[str, Any] = dict(error.value.response)
    fields = [(field["path"], field["message"]) for field in response.get("fieldList", ())]
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    return Refusal(response["Error"]["Code"], status, fields, response)
