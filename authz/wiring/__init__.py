"""Config → running Service. The only room that names concrete classes.

`assemble` reads and checks everything that an operator wrote, without starting anything; `running` starts it,
and keeps it up to date while files change.
"""

from authz.wiring.assembly import Assembly, assemble
from authz.wiring.runtime import Runtime, running

__all__ = ["Assembly", "Runtime", "assemble", "running"]
