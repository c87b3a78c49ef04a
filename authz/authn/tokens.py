"""Tokens from one place of a request: a carrier, and the verifier that all places share."""

from __future__ import annotations

from authz.authn.carriers import Carrier
from authz.authn.jwt import TokenVerifier
from authz.core.model import Identity, Request


class TokenAuthenticator:
    """Authenticates by a token of one of the verifier's issuers, wherever it stands. An `Authenticator`."""

    __slots__ = ("_header", "_read", "verifier")

    def __init__(self, verifier: TokenVerifier, carrier: Carrier) -> None:
        self._header, self._read = carrier
        self.verifier = verifier

    async def authenticate(self, request: Request) -> Identity | None:
        """The identity; None: the carrier found no token. The same object each time, for the token's lifetime.

        Raises:
            Unauthenticated: the token is bad, or not the only one; the reason code says how.
            KeysUnavailable: the issuer's keys are not at hand.
        """
        values = request.headers.all(self._header)
        if not values:
            return None
        read = self._read  # by a name: CPython calls what hangs on an instance more slowly
        token = read(values)
        if token is None:
            return None
        # A known token is answered without another coroutine: it is what nearly every request brings.
        known = self.verifier.recall(token)
        return known if known is not None else await self.verifier.verify(token)
