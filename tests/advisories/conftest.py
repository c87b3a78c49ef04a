"""The small application of tests/wiring, for a test to spoil."""

import pytest

from tests.wiring.conftest import App


@pytest.fixture
def app(tmp_path):
    return App(tmp_path)
