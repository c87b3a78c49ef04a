"""Settings that count from the start of a process on, carried to workers that are started later.

Without this a worker that takes the place of a dead one would open doors by a file that has changed meanwhile, while
the others go on as they were: one port, two rules for who may speak for clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from authz.config.load import Config
from authz.config.shape import ConfigShape
from authz.wiring.assembly import Assembly
from authz.wiring.runtime import NEED_A_START, left_as_they_were


def start_settings(config: Config) -> dict[str, Any]:
    """Path of each setting that counts from a start only → its value as written, secrets filled in; those given."""
    written = config.documents[str(config.file)].data
    found = {path: _at(written, path.split(".")) for path in NEED_A_START}
    return {path: value for path, value in found.items() if value is not None}


def as_started(assembly: Assembly, settings: Mapping[str, Any]) -> tuple[Assembly, tuple[str, ...]]:
    """The assembly with the settings of an earlier start, and the paths of those that its own file has otherwise."""
    config = assembly.config
    # Routes were read already, and may be anywhere.
    written = {**config.documents[str(config.file)].data, "routes": ()}
    for path in NEED_A_START:
        written = _replaced(written, path.split("."), settings.get(path))
    shape = ConfigShape.model_validate(written).model_copy(update={"routes": config.shape.routes})
    started = replace(config, shape=shape)
    return replace(assembly, config=started), tuple(left_as_they_were(started, config))


def _at(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def _replaced(whole: Mapping[str, Any], steps: list[str], value: Any) -> dict[str, Any]:
    """A copy with `value` at the place; without it if there is none."""
    first, *rest = steps
    if rest:
        inner = whole.get(first)
        replaced = _replaced(inner if isinstance(inner, Mapping) else {}, rest, value)
        # An empty mapping stays away: some are refused.
        value = replaced or None
    others = {key: other for key, other in whole.items() if key != first}
    return {**others, first: value} if value is not None else others
