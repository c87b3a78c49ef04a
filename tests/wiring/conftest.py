"""A folder with a whole, small application that a test may spoil."""

from __future__ import annotations

import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

import authz.wiring.library  # noqa: F401 - `authz.connect` imports it late, which would block a test's loop

SCHEMA = """namespace A {
  entity Group;
  entity User in [Group] = { level?: Long };
  entity Doc = { open?: Bool };
  action "read" appliesTo { principal: User, resource: Doc, context: { ip?: ipaddr, token?: { scope?: Set<String> } } };
}
"""
POLICIES = '@id("staff") permit(principal in A::Group::"staff", action, resource);\n'
ROUTES = """- name: read
  match: {methods: [GET], path: "/d/{id}"}
  action: A::Action::"read"
  resource: {type: A::Doc, id: "{path.id}"}
  context: {ip: {from: source.address, type: ip}}
  headers: {x-user: "{principal.id}"}
"""
CONFIG = """listeners: {http: "127.0.0.1:0"}
issuers:
  - issuer: https://login.example.com
    audience: [api]
    algorithms: [ES256]
    jwks_file: jwks.json
    groups: {type: A::Group}
policies: {path: policies}
routes: routes.yaml
deny_list: deny.yaml
record: {output: none}
"""


class App:
    """Files, and tokens for them."""

    def __init__(self, folder):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        (folder / "policies").mkdir()
        self.write("policies/schema.cedarschema", SCHEMA)
        self.write("policies/all.cedar", POLICIES)
        self.write("routes.yaml", ROUTES)
        self.write("deny.yaml", "{}")
        self.write("authz.yaml", CONFIG)
        self.publish(self.key, "k1")

    @property
    def config(self):
        return self.folder / "authz.yaml"

    def write(self, name, text):
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(text)
        temporary.replace(path)

    def edit(self, name, old, new):
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def publish(self, key, kid):
        jwk = json.loads(ECAlgorithm.to_jwk(key.public_key()))
        self.write("jwks.json", json.dumps({"keys": [{**jwk, "kid": kid, "use": "sig", "alg": "ES256"}]}))

    def token(self, *, key=None, kid="k1", **claims):
        now = int(time.time())
        base = {"iss": "https://login.example.com", "aud": "api", "sub": "ann", "iat": now, "exp": now + 600}
        return jwt.encode({**base, **claims}, key or self.key, algorithm="ES256", headers={"kid": kid})

    def headers(self, **claims):
        return {"authorization": f"Bearer {self.token(**claims)}"}


@pytest.fixture
def app(tmp_path):
    return App(tmp_path)
