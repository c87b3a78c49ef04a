"""The engine's own answer, from a handle of the whole policy set: what every shorter way must agree with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cedarpy

from authz.core.model import PolicySnapshot
from authz.pdp.cedar_json import uid_to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class FullSet:
    """Every policy, template and link of a snapshot in one handle."""

    handle: cedarpy.PolicySet
    ids: Mapping[str, str]
    """The engine's id → the store's id."""

    @classmethod
    def of(cls, snapshot: PolicySnapshot) -> FullSet:
        """Raises ValueError where the engine refuses the set."""
        policies = [*snapshot.policies, *snapshot.templates]
        handle = cedarpy.PolicySet.from_str("\n".join(policy.text for policy in policies))
        ids = {f"policy{place}": policy.id for place, policy in enumerate(policies)}
        engine_ids = {policy.id: engine_id for engine_id, policy in zip(ids, policies, strict=True)}
        links = []
        for place, link in enumerate(snapshot.links):
            values = {slot: uid_to_json(uid) for slot, uid in link.values.items()}
            ids[f"link{place}"] = link.id
            links.append({"template_id": engine_ids[link.template_id], "new_id": f"link{place}", "values": values})
        return cls(handle=handle.with_linked_batch(links) if links else handle, ids=ids)
