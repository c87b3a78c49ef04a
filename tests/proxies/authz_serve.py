"""`authz serve` as a process, with the sample policies, and an issuer whose tokens it accepts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.proxies.client import send
from tests.proxies.harness import REPOSITORY, Program, accepts, free_port

SAMPLE = REPOSITORY / "policies" / "documents"
ISSUER = "https://login.example.com"
AUDIENCE = "documents-api"


class Issuer:
    """Signs tokens with a key made for this test run."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = "key-1"

    def jwks(self) -> str:
        """The public key as a key set."""
        public = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": self._kid, "use": "sig", "alg": "ES256"}]})

    def token(self, subject: str, *groups: str, **claims: Any) -> str:
        """An access token, valid for an hour unless `claims` say otherwise."""
        now = int(time.time())
        standard: Mapping[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + 3600,
            "groups": list(groups),
            "amr": ["pwd"],
            "scope": "documents.read documents.write",
        }
        headers = {"kid": self._kid, "typ": "at+jwt"}
        return jwt.encode({**standard, **claims}, self._key, algorithm="ES256", headers=headers)


class AuthzServe(Program):
    """`authz serve` with the listeners of every example: `http` and `grpc` on TCP, the sockets beside them."""

    name = "authz"

    def __init__(self, folder: Path, issuer: Issuer, extra: Mapping[str, Any] | None = None) -> None:
        """`extra` is merged into the configuration's top level."""
        super().__init__(folder)
        self.issuer = issuer
        self.extra = dict(extra or {})
        self.http = free_port()
        self.grpc = free_port()
        self.admin = free_port()
        self.http_socket = folder / "http.sock"
        self.grpc_socket = folder / "grpc.sock"

    def address(self, example: str) -> int | Path:
        """Where the example's proxy asks."""
        if example.endswith("-unix"):
            return self.grpc_socket if "grpc" in example else self.http_socket
        return self.grpc if "grpc" in example else self.http

    def configuration(self) -> dict[str, Any]:
        # nginx's workers are `nobody` where root starts the tests, hence the mode; the folder is the tests' own.
        sockets = {"http": self.http_socket, "grpc": self.grpc_socket}
        listeners: dict[str, Any] = {
            door: [f"127.0.0.1:{port}", {"address": f"unix:{sockets[door]}", "mode": "0666"}]
            for door, port in (("http", self.http), ("grpc", self.grpc))
        }
        return {
            "listeners": {**listeners, "admin": f"127.0.0.1:{self.admin}"},
            "issuers": [
                {
                    "issuer": ISSUER,
                    "audience": [AUDIENCE],
                    "algorithms": ["ES256"],
                    "jwks_file": "jwks.json",
                    "token": "access",
                    "principal": {"type": "Documents::User"},
                    "groups": {"type": "Documents::Role", "claim": "groups"},
                }
            ],
            "policies": {"store": "files", "path": str(SAMPLE)},
            "routes": str(SAMPLE / "routes.yaml"),
            **self.extra,
        }

    def command(self) -> Sequence[str]:
        (self.folder / "jwks.json").write_text(self.issuer.jwks(), encoding="utf-8")
        file = self.folder / "authz.yaml"
        file.write_text(yaml.safe_dump(self.configuration()), encoding="utf-8")
        return [sys.executable, "-m", "authz", "serve", "--config", str(file)]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(REPOSITORY)}

    async def ready(self) -> bool:
        return await accepts(self.admin) and (await send(self.admin, "/readyz")).status == 200
