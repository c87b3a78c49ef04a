"""What a case sends beside its request, where the configuration reads it: a token, an API key, a client certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from authz.authn.api_keys import new_key
from authz.config.credentials import AuthenticatorShape, TokenShape
from authz.core.mapping import SOURCE_PRINCIPAL
from authz.devtools.case_file import Case
from authz.devtools.case_tokens import Signer, signer_for
from authz.wiring.assembly import Assembly
from authz.wiring.authenticators import place_of

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a run can send: tokens by keys of its own, API keys with secrets of its own, any certificate's name."""

    signers: tuple[Signer, ...]
    authenticators: tuple[AuthenticatorShape, ...]
    keys: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Authenticator → id of an API key → the key."""

    @classmethod
    def of(cls, signers: Sequence[Signer], assembly: Assembly) -> tuple[Self, Assembly]:
        """What the run sends, and the assembly that believes it: files hold hashes, so each key gets a new secret."""
        made = {name: {id: new_key(id) for id in keys} for name, keys in assembly.api_keys.items()}
        believed = {
            name: {id: replace(key, digest=bytes.fromhex(made[name][id].digest)) for id, key in keys.items()}
            for name, keys in assembly.api_keys.items()
        }
        credentials = cls(
            signers=tuple(signers),
            authenticators=assembly.config.shape.authenticators,
            keys={name: {id: key.text for id, key in keys.items()} for name, keys in made.items()},
        )
        return credentials, replace(assembly, api_keys=believed)

    def problems(self, case: Case) -> Iterator[tuple[str, str]]:
        """(key of the case, message) of what it asks to be sent, and nobody would read."""
        shape = case.shape
        if shape.token is not None and not self.signers:
            yield "token", "there is no issuer whose token could be sent"
        if shape.token is not None and self._place(shape.authenticator) is None:
            named = shape.authenticator
            text = f"`{named}` is no authenticator that takes tokens" if named else "no authenticator takes tokens"
            yield ("authenticator" if named else "token"), text
        if shape.token is None and shape.authenticator is not None:
            yield "authenticator", "it says where the token stands, and there is no `token`"
        if shape.api_key is not None and self._key(shape.api_key) is None:
            yield "api_key", f"no file of API keys has the id `{shape.api_key[:64]}`"
        if shape.certificate is not None and not any(one.client_certificate for one in self.authenticators):
            yield "certificate", "no authenticator takes client certificates"

    def headers(self, case: Case, now: float) -> Fields:
        """The header fields that carry the case's credentials."""
        found: list[tuple[str, str]] = []
        claims, place = case.shape.token, self._place(case.shape.authenticator)
        if claims is not None and place is not None:
            found.append(_carried(place, signer_for(self.signers, claims).token(claims, now=now)))
        if case.shape.api_key is not None and (key := self._key(case.shape.api_key)) is not None:
            found.append(key)
        return tuple(found)

    def extensions(self, case: Case) -> Mapping[str, str]:
        """What Envoy tells over gRPC of the case's client certificate."""
        name = case.shape.certificate
        return {SOURCE_PRINCIPAL: name} if name is not None else {}

    def _place(self, name: str | None) -> TokenShape | None:
        return next((one.token for one in self.authenticators if one.token and name in {None, one.name}), None)

    def _key(self, id: str) -> tuple[str, str] | None:
        for one in self.authenticators:
            if one.api_keys is not None and id in self.keys[one.name]:
                return one.api_keys.header, self.keys[one.name][id]
        return None


def _carried(place: TokenShape, token: str) -> tuple[str, str]:
    if place.cookie is not None:
        return "cookie", f"{place.cookie}={token}"
    header, scheme = place_of(place)
    return header, f"{scheme} {token}" if scheme is not None else token
