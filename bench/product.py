"""`authz` as a user's environment runs it: `python -m bench.product serve …`.

structlog loads `rich` (with its 65 modules, 3 MB) wherever it finds it. authz does not depend on it; it is here
only because the checks of this repository do. So it is hidden.
"""

from __future__ import annotations

import runpy
import sys

NOT_OURS = ("rich",)

if __name__ == "__main__":
    sys.modules.update(dict.fromkeys(NOT_OURS))  # type: ignore[arg-type]  # None: the import fails
    runpy.run_module("authz", run_name="__main__", alter_sys=True)
