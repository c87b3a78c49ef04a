"""The page that a person sees instead of a problem document: title, status, reason code, decision id.

Nothing of the request is on it. It has no script and loads nothing; its one style sheet is allowed by its digest,
so that even what slipped into the page could not run, load or send anything (Content Security Policy, level 3).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from html import escape

# The browser's own colours: their contrast is what its user chose, light or dark.
STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:100%/1.5 system-ui,sans-serif;margin:0;padding:2rem 1.25rem}"
    "main{max-width:40rem;margin:0 auto}"
    "h1{font-size:1.5rem;line-height:1.25}"
    "dt{font-weight:600}dd{margin:0 0 .75rem;overflow-wrap:anywhere}"
    "code{font:inherit;font-family:ui-monospace,monospace}"
)

ADVICE = {
    400: "The address or the request cannot be read in one way only, so it was not passed on.",
    401: "This page is shown to those who are logged in, and this request says nothing valid of who you are.",
    403: "You may not see this page, or may not do what was asked.",
    500: "The fault is not yours. Please try again later.",
    503: "The fault is not yours. Please try again later.",
}
"""One sentence for a status, the same for everybody."""


def html_page(
    *, status: int, title: str, reason: str, decision_id: str, detail: str = "", policies: Sequence[str] = ()
) -> bytes:
    """The page, in UTF-8.

    Args:
        status: HTTP status.
        title: what happened, in a few words.
        reason: the reason code.
        decision_id: for whoever is asked for help.
        detail: what the operator lets clients know beside that; escaped.
        policies: ids of policies, likewise.
    """
    head, tail = _frame(status, title, reason)
    shown = f"<p>{escape(detail)}</p>" if detail else ""
    rows = _row("Decision", decision_id)
    if policies:
        rows += _row("Policies", ", ".join(policies))
    # A lone surrogate cannot be sent.
    return head + shown.encode(errors="replace") + tail + rows.encode(errors="replace") + _END


_END = b"</dl></main></body></html>\n"


@lru_cache(maxsize=128)
def _frame(status: int, title: str, reason: str) -> tuple[bytes, bytes]:
    """What is the same for each answer of a kind: all before the detail, and all before the decision id."""
    advice = ADVICE.get(status, "")
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex">'
        f"<title>{status} {escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>" + (f"<p>{escape(advice)}</p>" if advice else "")
    )
    tail = "<dl>" + _row("Status", str(status)) + _row("Reason", reason)
    return head.encode(), tail.encode()


def _row(name: str, value: str) -> str:
    return f"<dt>{name}</dt><dd><code>{escape(value)}</code></dd>"


@lru_cache(maxsize=1)
def html_headers() -> tuple[tuple[str, str], ...]:
    """The headers that go with the page."""
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return (
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
    )
