"""`authz key`: makes an API key, shows it once, and prints the entry for the file. Keeps nothing."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from authz.authn.api_keys import new_key
from authz.core.errors import Misconfigured, Problem
from authz.core.mapping import MappingError, parse_uid

_IN_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2}))?", re.ASCII)


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz key`."""
    parser.description = (
        "Makes an API key. The key itself goes to standard error, once, for the client; the entry with its hash goes "
        "to standard output, for the file that `api_keys.file` names: `authz key … >> api-keys.yaml`."
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="names the key in records; default: random")
    parser.add_argument("--principal", required=True, metavar="UID", help='whom it stands for: `Type::"id"`')
    parser.add_argument("--parent", action="append", default=[], metavar="UID", help="a group of the principal's")
    parser.add_argument("--expires", metavar="WHEN", help="`90d`, `2027-01-31`, `2027-01-31T12:00:00Z`; default: never")


def main_key(arguments: argparse.Namespace) -> int:
    """`authz key`: prints key and entry, gives the exit code.

    Raises:
        Misconfigured: an argument is not of its form.
    """
    id = arguments.id if arguments.id is not None else f"key-{secrets.token_hex(4)}"
    try:
        uids = [text.strip() for text in (arguments.principal, *arguments.parent) if parse_uid(text)]
        expires = _expires(arguments.expires, datetime.now(UTC)) if arguments.expires is not None else None
        key = new_key(id)
    except (MappingError, ValueError) as error:
        raise Misconfigured((Problem(message=str(error)),)) from None
    lines = _entry(id, key.digest, uids[0], uids[1:], expires)
    print("\n".join(lines), flush=True)
    print(f"the key, shown this once:\n{key.text}", file=sys.stderr)
    return 0


def _entry(id: str, digest: str, principal: str, parents: list[str], expires: str | None) -> Iterable[str]:
    yield f"  - id: {_quoted(id)}"
    yield f"    sha256: {_quoted(digest)}"
    yield f"    principal: {_quoted(principal)}"
    if parents:
        yield f"    parents: [{', '.join(map(_quoted, parents))}]"
    if expires is not None:
        yield f"    expires: {_quoted(expires)}"


def _quoted(text: str) -> str:
    # Single quotes where they do, for entities have double ones. `${` would begin a variable in either.
    plain = text.isascii() and text.isprintable()
    quoted = "'" + text.replace("'", "''") + "'" if plain else json.dumps(text)
    return quoted.replace("${", "$${")


def _expires(text: str, now: datetime) -> str:
    days = _IN_DAYS.fullmatch(text)
    if days is not None:
        return f"{now + timedelta(days=int(days[1])):%Y-%m-%dT%H:%M:%SZ}"
    if _MOMENT.fullmatch(text) is not None:
        moment = datetime.fromisoformat(text)
        if (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) > now:
            return text
        raise ValueError("`--expires` is past")
    raise ValueError("`--expires`: expected days such as `90d`, a date, or a moment such as `2027-01-31T12:00:00Z`")
