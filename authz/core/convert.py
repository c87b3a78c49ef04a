"""Raw values → Cedar values. A *kind* is the Cedar type that a value must become.

A value that cannot become it is refused, never passed on as text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal, get_args

from authz.core.lookup import Source, bad_value
from authz.core.model import EntityUid, Extension, Value

Kind = Literal["string", "long", "bool", "set", "ip", "datetime", "decimal", "entity"]
KINDS: tuple[str, ...] = get_args(Kind)

MAX_VALUE = 2048
"""Characters of one mapped value."""
MAX_ADDRESS = 64
"""Characters of an address or range; so that what is kept of them stays small."""
MAX_SET = 256
"""Members of one mapped set."""
_LONG = re.compile(r"-?[0-9]{1,19}")
# Cedar documentation, "datetime": a date, or a date and time with milliseconds optional and Z or an offset.
# ASCII: to Python `\d` is every digit of Unicode, to Cedar it is not.
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}(T([01]\d|2[0-3]):\d{2}:\d{2}(\.\d{3})?(Z|[+-]\d{2}[0-5]\d))?", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,15}\.\d{1,4}", re.ASCII)
_DECIMAL_DIGITS = 20
_DECIMAL_LIMIT = 9223372036854775807  # the decimal times 10,000 must fit a signed 64-bit integer


def convert(kind: Kind, raw: object, source: Source, *, entity_type: str = "") -> Value:
    """A raw value as the Cedar value that `kind` names.

    Raises:
        RequestRefused: `bad_parameter`, where the request's value does not fit.
        Unauthenticated: `token_claims`, where a claim does not fit.
    """
    if source.from_body:
        _check_json_type(kind, raw, source)
    if kind == "set":
        return _set(raw, source)
    if isinstance(raw, (tuple, list)):  # a union of types takes longer to look at
        if len(raw) != 1:
            raise bad_value(source, "one value, found several")
        raw = raw[0]
    if kind == "entity":
        return EntityUid(entity_type, _string(raw, source))
    return _CONVERTERS[kind](raw, source)


def _check_json_type(kind: Kind, raw: object, source: Source) -> None:
    """JSON says of which type a value is; a service that takes `"false"` for true must not be told another thing.

    A form's values come as a tuple: they are text, as in a query.
    """
    if isinstance(raw, tuple):
        return
    if kind == "set" and not isinstance(raw, list):
        raise bad_value(source, "an array")
    if kind != "set" and isinstance(raw, list):
        raise bad_value(source, "one value, found an array")
    if kind in {"long", "bool"} and isinstance(raw, str):
        raise bad_value(source, "a number or `true` or `false`, found text")


def _string(raw: object, source: Source) -> str:
    if isinstance(raw, str):
        text = raw
    elif isinstance(raw, int) and not isinstance(raw, bool):
        text = str(raw)
    else:
        raise bad_value(source, "text")
    if not text or len(text) > MAX_VALUE:
        raise bad_value(source, f"1 to {MAX_VALUE} characters")
    if "\0" in text and source.from_body:  # as a form's field: what is written in C ends the text there
        raise bad_value(source, "text without a NUL")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate: bytes that are not UTF-8, or a broken JSON escape
            raise bad_value(source, "valid Unicode") from None
    return text


def _long(raw: object, source: Source) -> int:
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise bad_value(source, "a whole number")
    if isinstance(raw, str) and _LONG.fullmatch(raw) is None:
        raise bad_value(source, "a whole number")
    number = int(raw)
    if not -(2**63) <= number < 2**63:
        raise bad_value(source, "a number that fits 64 bits")
    return number


def _bool(raw: object, source: Source) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw in {"true", "false"}:
        return raw == "true"
    raise bad_value(source, "`true` or `false`")


def _ip(raw: object, source: Source) -> Extension:
    text = _string(raw, source)
    address = _canonical_ip(text) if len(text) <= MAX_ADDRESS else None
    if address is None:
        raise bad_value(source, "an IP address or range, IPv4 written as such, without a zone")
    return address


@lru_cache(maxsize=4096)
def _canonical_ip(text: str) -> Extension | None:
    """Parsing an address costs as much as the rest of a query's mapping, and clients come again."""
    try:
        address = ipaddress.ip_network(text, strict=False) if "/" in text else ipaddress.ip_address(text)
    except ValueError:
        return None
    # Cedar knows no IPv4-mapped IPv6 and no zone: the same host must not have two names.
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return Extension("ip", str(address.ipv4_mapped or address))
    if isinstance(address, ipaddress.IPv6Network) and address.network_address.ipv4_mapped is not None:
        return None
    return Extension("ip", str(address))


def _datetime(raw: object, source: Source) -> Extension:
    if isinstance(raw, int) and not isinstance(raw, bool):  # claims carry seconds since the epoch (RFC 7519, 2)
        try:
            moment = datetime.fromtimestamp(raw, tz=UTC)
        except (ValueError, OverflowError, OSError):
            raise bad_value(source, "seconds since the epoch") from None
        return Extension("datetime", f"{moment.year:04d}-{moment:%m-%dT%H:%M:%SZ}")
    text = _string(raw, source)
    if _DATETIME.fullmatch(text) is None or not _real_moment(text):
        raise bad_value(source, "a date, or a date and time such as `2026-01-31T09:30:00Z`")
    return Extension("datetime", text)


def _real_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _decimal(raw: object, source: Source) -> Extension:
    text = _string(_number_text(raw, source), source)
    if _DECIMAL.fullmatch(text) is None:
        raise bad_value(source, "a decimal with one to four digits after the point")
    whole, _, fraction = text.lstrip("-").partition(".")
    if int(whole + fraction.ljust(4, "0")) > _DECIMAL_LIMIT:
        raise bad_value(source, "a decimal between -922337203685477.5807 and 922337203685477.5807")
    return Extension("decimal", text)


def _number_text(raw: object, source: Source) -> object:
    """JSON's number as Cedar writes a decimal. Exact: what would have to be rounded does not fit."""
    if isinstance(raw, bool) or not isinstance(raw, int | Decimal):
        return raw
    if isinstance(raw, Decimal) and abs(raw.adjusted()) > _DECIMAL_DIGITS:  # before a gigabyte of zeros is written
        raise bad_value(source, "a decimal of an ordinary size")
    text = f"{raw:f}" if isinstance(raw, Decimal) else str(raw)  # 1e2 is 100, however it is written
    return text if "." in text else f"{text}.0"


def _set(raw: object, source: Source) -> tuple[Value, ...]:
    members: tuple[object, ...] = tuple(raw) if isinstance(raw, tuple | list) else (raw,)
    if source.name.startswith("headers."):  # RFC 9110, 5.6.1: list-valued fields are joined with commas
        members = tuple(piece.strip() for member in members for piece in str(member).split(",") if piece.strip())
    if len(members) > MAX_SET:
        raise bad_value(source, f"at most {MAX_SET} members")
    return tuple(dict.fromkeys(_string(member, source) for member in members))


_CONVERTERS: Mapping[str, Callable[[object, Source], Value]] = {
    "string": _string,
    "long": _long,
    "bool": _bool,
    "ip": _ip,
    "datetime": _datetime,
    "decimal": _decimal,
}
