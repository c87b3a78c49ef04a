"""What to do about a call that failed, in words for whoever runs `authz avp`."""

from __future__ import annotations

from authz.aws.errors import AvpError, Kind

_ADVICE = {
    Kind.CREDENTIALS: "mend the credentials, or name others by `--profile`",
    Kind.DENIED: "the role lacks this permission: docs/store-tooling.md, `Permissions`, lists those that are needed",
    Kind.UNREACHABLE: "the endpoint does not answer: see `--endpoint` and `--region`",
    Kind.THROTTLED: "others use up the store's quota: try later, or with a lower `--rate`",
}
_NO_STORE = "there is no such policy store in this account and region: see `--store`, `--region`, `--profile`"
_NO_ALIAS = (
    "there is no such policy store in this account and region: `--create` beside `--alias` makes it; if it is "
    "elsewhere, see `--region`, `--profile`"
)


def advice_on(error: AvpError) -> str:
    """What to do, wherever it failed; empty: nobody knows."""
    return _ADVICE.get(error.kind, "")


def advice_on_reading(error: AvpError, *, alias: bool) -> str:
    """What to do if a store could not be read.

    Args:
        error: why.
        alias: is it called by `--alias`?
    """
    if error.kind is Kind.MISSING:
        return _NO_ALIAS if alias else _NO_STORE
    return advice_on(error)
