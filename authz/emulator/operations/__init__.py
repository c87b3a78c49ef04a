"""The operations: one table, from the name to the function that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from authz.emulator.services import Services

Handler: TypeAlias = Callable[[Services, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Answers one operation. It is given input that has the operation's shape (`authz.emulator.shapes`)."""
