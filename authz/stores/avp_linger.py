"""Forbids that a listing of several pages does not show are kept for one look more.

Such a listing is not of one moment. Whoever replaces a forbid makes the new one and then deletes the old one; a listing
may come too early for the new one on its first page and too late for the old one on its last, and the replica would
allow what the store at no moment allowed. A listing that begins after the old one was missed shows the new one. Permits
need none of this: without one less is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeVar

from authz.core.model import Effect, Policy, TemplateLink
from authz.stores.avp_content import Content

_ID = attrgetter("id")
T = TypeVar("T", Policy, TemplateLink)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lingering:
    """What is kept though it was not listed."""

    policies: tuple[Policy, ...] = ()
    templates: tuple[Policy, ...] = ()
    links: tuple[TemplateLink, ...] = ()

    def beside(self, content: Content) -> Content:
        """The content with it."""
        if not self.ids:
            return content
        return replace(
            content,
            policies=_by_id((*content.policies, *self.policies)),
            templates=_by_id((*content.templates, *self.templates)),
            links=_by_id((*content.links, *self.links)),
        )

    @property
    def ids(self) -> frozenset[str]:
        """Of the policies and links."""
        return frozenset([one.id for one in self.policies] + [one.id for one in self.links])


def lingering(before: Content, now: Content, once: frozenset[str]) -> Lingering:
    """The forbids of `before` that `now` lacks, with the templates of links, but for those that were kept `once`."""
    here = {one.id for one in now.policies} | {one.id for one in now.links} | once
    policies = tuple(one for one in before.policies if one.effect is Effect.FORBID and one.id not in here)
    forbidding = {one.id: one for one in before.templates if one.effect is Effect.FORBID}
    links = tuple(one for one in before.links if one.template_id in forbidding and one.id not in here)
    there = {one.id for one in now.templates}
    wanted = dict.fromkeys(one.template_id for one in links)
    templates = tuple(forbidding[id] for id in wanted if id not in there)
    return Lingering(policies=policies, templates=templates, links=links)


def _by_id(items: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(sorted(items, key=_ID))
