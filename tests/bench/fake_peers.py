"""Peers that are not there: programs with the same interfaces that answer as the real ones would, or wrongly."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

CEDARLING = """
import glob, json
import cedarpy

EntityData = type("EntityData", (dict,), {"from_dict": classmethod(lambda cls, value: cls(value))})


class RequestUnsigned:
    def __init__(self, *, principal, action, resource, context):
        def uid(entity):
            mapping = entity["cedar_entity_mapping"]
            return {"type": mapping["entity_type"], "id": mapping["id"]}

        def whole(entity):
            return {"uid": uid(entity), "attrs": {k: v for k, v in entity.items() if k != "cedar_entity_mapping"}, "parents": []}

        kind, _, id = action.rpartition("::")
        self.entities = json.dumps([whole(principal), whole(resource)])
        self.query = {"principal": uid(principal), "action": {"type": kind, "id": json.loads(id)}, "resource": uid(resource), "context": context}


class Result:
    def __init__(self, found):
        ids = found.diagnostics.id_annotations_by_reason
        self.response = self.diagnostics = self
        self.reason = {ids[name] for name in found.diagnostics.reasons}
        self.is_allowed = lambda: ANSWER(found.allowed)


def BootstrapConfig(settings):
    return settings


class Cedarling:
    def __init__(self, settings):
        folder = settings["CEDARLING_POLICY_STORE_LOCAL_FN"]
        json.load(open(folder + "/metadata.json"))
        self.policies = cedarpy.PolicySet.from_str("".join(open(f).read() for f in sorted(glob.glob(folder + "/policies/*.cedar"))))

    def authorize_unsigned(self, request):
        return Result(cedarpy.is_authorized(request.query, self.policies, request.entities))
"""
CERBOS = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tests.bench.fake_peers import decided

config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
found = [json.loads(file.read_text())["resourcePolicy"] for file in Path(config["storage"]["disk"]["directory"]).iterdir()]
policies = {one["resource"]: one for one in found}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    checks = 0

    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        name = "cerbos_dev_engine_check_latency_milliseconds"
        lines = [name + '_sum{status="success"} ' + str(Handler.checks / 2), name + '_count{status="success"} ' + str(Handler.checks)]
        self.answer('{"status":"SERVING"}' if self.path == "/_cerbos/health" else "\\n".join(lines))

    def do_POST(self):
        Handler.checks += 1
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        one = asked["resources"][0]
        allowed = decided(policies[one["resource"]["kind"]], asked["principal"], one["resource"], one["actions"][0])
        self.answer(json.dumps({"actions": {one["actions"][0]: "EFFECT_ALLOW" if allowed else "EFFECT_DENY"}}))

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(config["server"]["httpListenAddr"].rpartition(":")[2])), Handler).serve_forever()
"""


def decided(policy: Any, principal: Any, resource: Any, action: str) -> bool:
    """What Cerbos says by its rules: a deny wins, nothing matching is a deny."""
    effects = {
        rule["effect"]
        for rule in policy["rules"]
        if action in rule["actions"] and holds(rule["condition"]["match"]["expr"], principal["attr"], resource["id"])
    }
    return effects == {"EFFECT_ALLOW"}


def holds(expression: str, attributes: Any, id: str) -> bool:
    """The few operators of its condition language that the bench uses."""
    python = re.sub(r"!(?!=)", " not ", expression.replace("&&", " and ").replace("||", " or "))
    python = re.sub(r"P\.attr\.(\w+)", r'attributes["\1"]', python).replace("R.id", "id")
    return bool(eval(python, {"attributes": attributes, "id": id}))


def executable(file: Path, command: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    file.chmod(0o755)


def install(peers: Path, *, cedarling: str = "allowed", cerbos: bool = True) -> None:
    """Installs the fakes as `make peers` installs the real ones. `cedarling`: what it makes of `allowed`."""
    site = peers / "lib" / "python3.11" / "site-packages"
    package = site / "cedarling_python"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"ANSWER = lambda allowed: {cedarling}\n{CEDARLING}", encoding="utf-8")
    (site / "cedarling_python-9.9.dist-info").mkdir()
    executable(peers / "bin" / "python", f'PYTHONPATH="{site}:$PYTHONPATH" exec "{sys.executable}" "$@"')
    if cerbos:
        modules = peers / "npm" / "node_modules"
        folder = modules / "@cerbos" / "cerbos-linux-x64"
        (modules / "cerbos").mkdir(parents=True)
        (modules / "cerbos" / "package.json").write_text(json.dumps({"version": "0.0.9"}), encoding="utf-8")
        folder.mkdir(parents=True)
        (folder / "server.py").write_text(CERBOS, encoding="utf-8")
        executable(
            folder / "cerbos-linux-x64",
            f'PYTHONPATH="{Path(__file__).parents[2]}" exec "{sys.executable}" "{folder}/server.py" "$@"',
        )
