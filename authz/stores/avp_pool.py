"""What was fetched of a policy store: kept also where the look that fetched it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from authz.core.errors import Problem
from authz.core.model import Policy, TemplateLink
from authz.stores.avp_content import Content


class Stamp(NamedTuple):
    """By which a change is noticed. Any difference counts, not only a later date."""

    updated: object
    name: str


class Fetched(NamedTuple):
    """A policy or template as it was fetched."""

    stamp: Stamp
    result: Policy | Problem
    size: int
    """Characters of its text."""


@dataclass(slots=True)
class Pool:
    """What was fetched of one policy store. Outlives looks that fail."""

    store: str
    policies: dict[str, Fetched] = field(default_factory=dict)
    templates: dict[str, Fetched] = field(default_factory=dict)
    links: dict[str, TemplateLink] = field(default_factory=dict)
    before: dict[str, Policy] = field(default_factory=dict)
    """What was there before anything was fetched (from the snapshot on disk), to be the same objects again."""

    def know(self, content: Content) -> None:
        """To be told what there is already."""
        if content.store != self.store:
            return
        self.before = {policy.id: policy for policy in (*content.policies, *content.templates)}
        self.links = {link.id: link for link in content.links}
        for texts in (self.policies, self.templates):
            for id, fetched in texts.items():
                known = self.before.get(id)
                if known is not None and known == fetched.result:
                    texts[id] = fetched._replace(result=known)

    def same(self, policy: Policy | Problem, id: str) -> Policy | Problem:
        """The object that was there before, where it is equal."""
        fetched = self.policies.get(id) or self.templates.get(id)
        for known in (fetched.result if fetched is not None else None, self.before.get(id)):
            if known == policy:
                return known
        return policy

    @property
    def size(self) -> int:
        """Characters of all texts."""
        return sum(one.size for one in chain(self.policies.values(), self.templates.values()))


def results(pool: Mapping[str, Fetched], ids: Mapping[str, Stamp]) -> tuple[Policy, ...]:
    """The policies or templates that a look without problems found, in the order of their ids."""
    return tuple(result for id in sorted(ids) if isinstance(result := pool[id].result, Policy))
