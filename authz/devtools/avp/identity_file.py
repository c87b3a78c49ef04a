"""`identity_source.json`: an identity source as the API has it, read from a folder and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from authz.core.cedar_lex import SourceError, line_of
from authz.core.cedar_schema_json import read_json_text
from authz.core.errors import Problem
from authz.devtools.avp.content import IdentitySource

IDENTITY_FILE = "identity_source.json"
_POOL = re.compile(r"arn:[a-zA-Z0-9-]+:cognito-idp:[a-zA-Z0-9-]+:\d{12}:userpool/[\w-]+_[0-9a-zA-Z]+")
_ISSUER = r"https://.*|http://(127\.0\.0\.1|localhost)(:\d+)?(/.*)?"
"""The service takes the first; the second is for an emulator and an issuer on this machine."""
_TYPE = re.compile(r"([_a-zA-Z][_a-zA-Z0-9]*::)*[_a-zA-Z][_a-zA-Z0-9]*")


class _Wrong(Exception):
    """What is wrong with a value; the first argument names its place."""


Check: TypeAlias = Callable[[object, str], None]


def read_identity_source(folder: Path, problems: list[Problem]) -> IdentitySource | None:
    """The identity source of a folder; None: there is none, or it has a problem, which is appended."""
    path = folder / IDENTITY_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8"
        problems.append(Problem(message=f"`{IDENTITY_FILE}` cannot be read: {said}", file=str(path)))
        return None
    try:
        data = read_json_text(text)
    except SourceError as error:
        line = line_of(text, error.offset) if error.offset is not None else None
        problems.append(Problem(message=f"identity source: {error.message}", file=str(path), line=line))
        return None
    try:
        _object(data, "the file", {"configuration": _configuration}, {"principalEntityType": _type})
        assert isinstance(data, dict)
        if "openIdConnectConfiguration" in data["configuration"] and "principalEntityType" not in data:
            raise _Wrong("`principalEntityType`", "is missing; with OpenID Connect it must be there")
    except _Wrong as error:
        place, wish = error.args
        problems.append(Problem(message=f"identity source: {place} {wish}", file=str(path), line=_line(text, place)))
        return None
    return IdentitySource(
        configuration=data["configuration"], principal_type=data.get("principalEntityType", ""), file=str(path)
    )


def written(source: IdentitySource) -> str:
    """The text of the file for an identity source of a store."""
    data: dict[str, Any] = {"configuration": _settable(source.configuration)}
    if source.principal_type:
        data["principalEntityType"] = source.principal_type
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _settable(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the service adds when it answers: Cognito's issuer."""
    kind, value = next(iter(configuration.items()))
    if kind == "cognitoUserPoolConfiguration":
        value = {key: item for key, item in value.items() if key != "issuer"}
    return {kind: value}


def _line(text: str, place: str) -> int | None:
    """Where the last key of the place stands, if it stands only once."""
    keys = re.findall(r"`([^`]+)`", place)
    spots = [match.start() for match in re.finditer(re.escape(json.dumps(keys[-1])), text)] if keys else []
    return line_of(text, spots[0]) if len(spots) == 1 else None


# --- the shape: API reference, `Configuration`


def _object(value: object, place: str, must: Mapping[str, Check], may: Mapping[str, Check]) -> None:
    if not isinstance(value, dict):
        raise _Wrong(place, "must be an object")
    for key in value:
        if key not in must and key not in may:
            known = ", ".join(f"`{name}`" for name in (*must, *may))
            raise _Wrong(f"`{key}`", f"is no member of {place}; expected {known}")
    for key in must:
        if key not in value:
            raise _Wrong(f"`{key}`", f"is missing in {place}")
    for key, item in value.items():
        (must.get(key) or may[key])(item, f"`{key}`")


def _one_of(value: object, place: str, kinds: Mapping[str, Check]) -> None:
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in kinds:
        raise _Wrong(place, f"must have exactly one member: {' or '.join(f'`{kind}`' for kind in kinds)}")
    kind, item = next(iter(value.items()))
    kinds[kind](item, f"`{kind}`")


def _text(least: int, most: int, pattern: str = r"(?s).*") -> Check:
    def check(value: object, place: str) -> None:
        if not isinstance(value, str) or not least <= len(value) <= most or re.fullmatch(pattern, value) is None:
            wish = "" if pattern == r"(?s).*" else f" that fits `{pattern}`"
            raise _Wrong(place, f"must be text of {least} to {most} characters{wish}")

    return check


def _texts(value: object, place: str) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) and 1 <= len(item) <= 255 for item in value):
        raise _Wrong(place, "must be a list of texts of 1 to 255 characters")


_type = _text(1, 200, _TYPE.pattern)


def _configuration(value: object, place: str) -> None:
    _one_of(value, place, {"cognitoUserPoolConfiguration": _cognito, "openIdConnectConfiguration": _oidc})


def _cognito(value: object, place: str) -> None:
    groups: Check = lambda item, where: _object(item, where, {"groupEntityType": _type}, {})  # noqa: E731
    pool = {"userPoolArn": _text(1, 255, _POOL.pattern)}
    _object(value, place, pool, {"clientIds": _texts, "groupConfiguration": groups})


def _oidc(value: object, place: str) -> None:
    _object(
        value,
        place,
        {"issuer": _text(1, 2048, _ISSUER), "tokenSelection": _selection},
        {"entityIdPrefix": _text(1, 100), "groupConfiguration": _groups},
    )


def _groups(value: object, place: str) -> None:
    _object(value, place, {"groupClaim": _text(1, 2048), "groupEntityType": _type}, {})


def _selection(value: object, place: str) -> None:
    claim = {"principalIdClaim": _text(1, 2048)}
    kinds: dict[str, Check] = {
        "accessTokenOnly": lambda item, where: _object(item, where, {}, {**claim, "audiences": _texts}),
        "identityTokenOnly": lambda item, where: _object(item, where, {}, {**claim, "clientIds": _texts}),
    }
    _one_of(value, place, kinds)
