"""Cedarling, asked through its Python package. Run by the Python of `.peers`: `python -m bench.peer_cedarling …`.

`authorize_unsigned` is its simplest call: the principal is given as an entity, no token is verified. Principal and
resource are parsed beforehand (`EntityData`, `RequestUnsigned`), its log is off.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import scale_set
from bench.scale_set import A_FILE, Question
from bench.scale_timing import Ask, checked, read, rounds, say

_METADATA = {"cedar_version": "4.4.0", "policy_store": {"id": "5ca1ab1e", "name": "scale", "version": "1.0.0"}}


def write(folder: Path, size: int) -> None:
    """Its policy store as a folder. (An archive may hold 10,000 entries; a file here holds many policies.)"""
    inner = folder / "policies"
    inner.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps(_METADATA), encoding="utf-8")
    (folder / "schema.cedarschema").write_text(scale_set.SCHEMA, encoding="utf-8")
    found = list(scale_set.policies(size))
    for start in range(0, size, A_FILE):
        file = inner / f"policies-{start // A_FILE:03}.cedar"
        file.write_text(scale_set.text(found[start : start + A_FILE]), encoding="utf-8")


def _loaded(module: Any, folder: Path) -> Any:
    settings = {
        "CEDARLING_APPLICATION_NAME": "bench",
        "CEDARLING_POLICY_STORE_LOCAL_FN": str(folder),
        "CEDARLING_JWT_SIG_VALIDATION": "disabled",
        "CEDARLING_JWT_STATUS_VALIDATION": "disabled",
        "CEDARLING_LOG_TYPE": "off",
    }
    return module.Cedarling(module.BootstrapConfig(settings))


def _asker(module: Any, instance: Any) -> Any:
    def entity(kind: str, id: str, attributes: dict[str, Any]) -> Any:
        return module.EntityData.from_dict({"cedar_entity_mapping": {"entity_type": kind, "id": id}, **attributes})

    principals = [
        entity(scale_set.USER, person.name, {"department": person.department, "clearance": person.clearance})
        for person in scale_set.people()
    ]

    def ask(question: Question) -> Ask:
        request = module.RequestUnsigned(
            principal=principals[question.user],
            action=f'{scale_set.ACTION}::"{scale_set.READ}"',
            resource=entity(scale_set.DOCUMENT, scale_set.document(question.document), {}),
            context={"mfa": question.mfa, "hour": question.hour},
        )

        def call() -> tuple[bool, Sequence[str]]:
            result = instance.authorize_unsigned(request)
            return result.is_allowed(), list(result.response.diagnostics.reason)

        return call

    return ask


def main(file: str, folder: str, count: str, seconds: str) -> None:
    """Reads the job in `file`, loads the store in `folder`, times `count` rounds."""
    module = importlib.import_module("cedarling_python")  # in its own environment only
    job = read(Path(file))
    begun = time.monotonic()
    instance = _loaded(module, Path(folder))
    say("ready", seconds=time.monotonic() - begun)
    calls = checked(job.hot, _asker(module, instance), seconds=float(seconds))
    rounds(calls, count=int(count), seconds=float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
