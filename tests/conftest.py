"""What every test shares: markers, and how Hypothesis draws its examples."""

import os
from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

MARKERS = (
    "proxy: starts a real proxy (from the environment that AUTHZ_TOOLS names)",
    "package: builds the wheel and installs it into a clean environment",
)

# No deadline for one example: time on a shared machine is no property of the code. In continuous
# integration the examples are the same on each run; at a developer's desk each run looks elsewhere.
settings.register_profile("authz", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("authz")
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


# Developer tools run alone and may block; whatever serves may not.
SERVING = ("authn", "contracts", "observe", "pdp", "servers", "stores", "wiring")


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """A call of ours that blocks the event loop fails the test that makes it."""
    if request.path.parent.name not in SERVING:
        yield
        return
    # The emulator is a developer's tool too, and asks its database on the loop.
    with blockbuster_ctx(scanned_modules="authz", excluded_modules=["authz.devtools", "authz.emulator"]) as guard:
        # grpc.aio joins its polling thread when its last object is collected, in the middle of whatever runs then.
        guard.functions["threading.Lock.acquire"].can_block_in("threading.py", "_wait_for_tstate_lock")
        yield
