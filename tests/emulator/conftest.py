"""One emulator for the tests of a file, and a client of it. Files that need another one say so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.running import Emulator, emulator_thread


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulator]:
    with emulator_thread() as running:
        yield running


@pytest.fixture(scope="module")
def client(emulated: Emulator) -> Any:
    return emulated.client()


@pytest.fixture
def store(emulated: Emulator) -> str:
    """An empty policy store."""
    return emulated.store()
