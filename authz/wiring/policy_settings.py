"""Do the settings of the decision point go with the policies? Asked at load, so that no request finds out."""

from __future__ import annotations

from collections.abc import Iterator

from authz.config.load import Config
from authz.core.errors import Problem
from authz.pdp.compiled import CompiledPolicies

STRICT = ("validate_requests", "validate_entities")
"""Settings below `policies` that hold a request against the schema."""


def unfit_settings(config: Config, compiled: CompiledPolicies) -> Iterator[Problem]:
    """Every misfit: as an error where a setting could not do what it says, else as a warning."""
    policies, limits = config.shape.policies, config.shape.limits
    for name in STRICT:
        if compiled.schema is None and getattr(policies, name):
            text = f"`policies.{name}` needs a schema, and there is none: add one, or leave the setting out"
            yield config.problem(("policies", name), text)
    stored = compiled.snapshot.identity_source if policies.identity_source == "use" else None
    kinds = {issuer.token for issuer in config.shape.issuers} | ({stored.token} if stored is not None else set())
    if policies.validate_entities and kinds - {"access"}:
        text = (
            "`policies.validate_entities` with ID tokens: each claim is an attribute of the principal, and a token "
            "with a claim that the schema does not declare has no decision (`entities_mismatch`)"
        )
        yield config.problem(("policies", "validate_entities"), text, severity="warning")
    unscoped = len(compiled.index.unscoped())
    if unscoped > limits.candidates:
        text = (
            f"`limits.candidates` is {limits.candidates}, and {unscoped} policies name neither principal nor resource: "
            "a request that all of them could match has no decision (`too_many_candidates`)"
        )
        yield config.problem(("limits", "candidates"), text, severity="warning")
    most = max(compiled.entities.values(), key=lambda entity: len(entity.parents), default=None)
    if most is not None and len(most.parents) > limits.ancestors:
        text = (
            f"`limits.ancestors` is {limits.ancestors}, and `{most.uid}` has {len(most.parents)} parents: "
            "a request about it has no decision (`too_many_ancestors`)"
        )
        yield config.problem(("limits", "ancestors"), text, severity="warning")
