"""What a policy of a folder is called in a store of Verified Permissions, and the other way round.

A folder's id is `@id`, else `path#n`; a name in Verified Permissions is made of few characters. So:

    id in the folder            name                   why
    share-document              share-document         as it is
    documents.cedar#1           documents              the file's name stands for its first policy
    team/documents.cedar#3      team/documents/3
    team.read all               team-read-all          what a name cannot hold becomes `-` …
    größe                       gr_f6__df_e            … or, beyond ASCII, `_` with its number, `_`

Two ids may come to one name: whoever pushes must refuse that. A name becomes itself, so what was pulled is found
again. Source: API reference, `PolicyName` and `PolicyTemplateName` (pattern and length).
"""

from __future__ import annotations

import re

PREFIX = "name/"
"""Stands before every name in the API."""
MAX_NAME = 150
"""Characters, the prefix included."""
STAND_IN = "stand-in-of-a-push/"
"""Begins the names of what a push makes for a moment, and removes."""
TEMPLATES = "templates/"
"""The folder that templates are pulled into; no part of their names."""

_LEGAL = re.compile(r"[A-Za-z0-9/_-]+")
_NUMBERED = re.compile(r"(.+)\.cedar#([1-9][0-9]*)", re.DOTALL)
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


class NameFault(ValueError):
    """An id comes to no name; says why, and what to do."""


def name_of(id: str, *, template: bool = False) -> str:
    """The name of a policy, template or link, without `name/`.

    Args:
        id: in the folder.
        template: is it a template's?

    Raises:
        NameFault: it is too long, or one of those that a push keeps for itself.
    """
    numbered = _NUMBERED.fullmatch(id)
    if numbered is not None:
        path = numbered[1].removeprefix(TEMPLATES) if template else numbered[1]
        id = path if numbered[2] == "1" else f"{path}/{numbered[2]}"
    name = "".join(map(_spelled, id))
    if len(PREFIX) + len(name) > MAX_NAME:
        most = MAX_NAME - len(PREFIX)
        raise NameFault(f"its name `{name[:40]}…` has {len(name)} characters, at most {most} are taken: {ADVICE}")
    if name.startswith(STAND_IN):
        raise NameFault(f"names that begin with `{STAND_IN}` are kept for what a push makes for a moment: {ADVICE}")
    return name


ADVICE = 'give it an `@id("…")` of its own (a link: another `id`)'
"""What to do about an id that cannot be a name."""


def _spelled(character: str) -> str:
    if character in _PLAIN or character == "/":
        return character
    return "-" if character.isascii() else f"_{ord(character):x}_"


def is_legal(name: str) -> bool:
    """Can the service have taken this name (without `name/`)?"""
    return _LEGAL.fullmatch(name) is not None and len(PREFIX) + len(name) <= MAX_NAME


def path_of(name: str, *, template: bool = False) -> str:
    """The file that a policy of this name (or id) is pulled into, below the folder.

    Whatever the name: one relative path, no two names the same one, no `..`, no hidden file; `key_of` reads it back.
    """
    parts = [_part(part) for part in name.split("/")]
    if not template and parts[0] == TEMPLATES[:-1] and len(parts) > 1:
        parts[0] = f"%{ord('t'):02X}{parts[0][1:]}"
    return f"{TEMPLATES if template else ''}{'/'.join(parts)}.cedar"


def _part(text: str) -> str:
    if not text:
        return "%"
    return "".join(c if c in _PLAIN else "".join(f"%{b:02X}" for b in c.encode(errors="replace")) for c in text)


def key_of(path: str, *, template: bool = False) -> str:
    """The name (or id) for which a file of this path is kept."""
    if template:
        path = path.removeprefix(TEMPLATES)
    return "/".join("" if part == "%" else _unquoted(part) for part in path.removesuffix(".cedar").split("/"))


def _unquoted(part: str) -> str:
    data = re.sub(rb"%([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), part.encode(errors="replace"))
    return data.decode(errors="replace")
