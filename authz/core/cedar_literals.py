"""The entities that a policy names in its conditions, as in `when { App::Settings::"global".locked }`.

The engine needs them to evaluate the policy, although nothing of the query leads there: without the entity such a
condition errs, and the policy is skipped, also a forbid. What stands in the scope alone is compared, never opened.
"""

from collections.abc import Iterator

from authz.core.cedar_lex import POLICY_TOKEN, tokens, unescape
from authz.core.model import EntityUid


def entity_literals(policy: str) -> Iterator[EntityUid]:
    """Entities named after the first `when` or `unless` of one policy, which was scanned before (`cedar_text`)."""
    start = min((place for word in ("when", "unless") if (place := policy.find(word)) >= 0), default=len(policy))
    if policy.find("::", start) < 0:
        return
    name: list[str] = []
    inside = joined = False
    for token in tokens(POLICY_TOKEN, policy):
        if token.kind == "string" and joined and inside:
            yield EntityUid("::".join(name), unescape(token))
        elif token.kind == "word":
            inside = inside or token.text in ("when", "unless")
            name = [*name, token.text] if joined else [token.text]
        joined = token.kind == "path"
        if token.kind not in ("word", "path"):
            name = []
