"""What passes as a CORS preflight must be one: it reaches the service without any decision."""

from __future__ import annotations

import pytest

from tests.core.test_preflight import EXACT, passes


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-http-method", "x-method-override"])
@pytest.mark.parametrize("value", ["DELETE", ""])
def test_a_preflight_cannot_carry_another_method_past_the_decision(name, value):
    """Frameworks that obey these would carry out a DELETE nobody decided. No browser's preflight has them."""
    assert passes(EXACT)
    assert not passes((*EXACT, (name, value)))


@pytest.mark.parametrize("name", ["x-api-key", "x-access-token", "x-forwarded-client-cert"])
def test_header_names_alone_make_no_preflight_of_what_is_one(name):
    """Credentials of other kinds are not looked at: the request goes on without identity headers all the same."""
    assert passes((*EXACT, (name, "x")))
