"""Config → running Service. The only room that names concrete classes.

`assemble` reads and checks everything that an operator wrote, without starting anything; `running` starts it,
and keeps it up to date while files change. Both are loaded when they are asked for: a supervisor of workers needs
neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from authz.wiring.assembly import Assembly, assemble
    from authz.wiring.runtime import Runtime, running

__all__ = ["Assembly", "Runtime", "assemble", "running"]

_PLACES = {"Assembly": "assembly", "assemble": "assembly", "Runtime": "runtime", "running": "runtime"}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"authz.wiring.{_PLACES[name]}"), name)
    raise AttributeError(f"module `authz.wiring` has no attribute `{name}`")
