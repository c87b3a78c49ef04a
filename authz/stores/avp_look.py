"""One look at a policy store's policies: what there is, and the texts of what changed.

The listing tells ids, dates, names, and what fills the slots of links; texts are fetched for what is new or has another
date, a hundred at once. What was fetched is kept also when the look fails later, so that the next one goes on from
there; what counts as the store's content is decided by a complete listing alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from authz.aws.errors import AvpError, Kind
from authz.core.errors import Misconfigured, Problem
from authz.core.model import EntityUid, TemplateLink
from authz.core.pieces import Pause, take_apart
from authz.stores.avp_calls import Calls, Item, text_of, unreadable
from authz.stores.avp_content import NAME_PREFIX, link_values, place, read_statement, short_name
from authz.stores.avp_pool import Fetched, Pool, Stamp

AT_ONCE = 100
"""Policies of one `BatchGetPolicy` (API reference, BatchGetPolicyInputList)."""
_LOOKS = 3
"""At links and templates that do not fit together yet."""
_MOMENT = 1.0
"""Seconds between two of those looks: changes take "a few seconds" to be seen everywhere (API reference)."""


@dataclass(slots=True)
class Found:
    """What a complete look found; the texts are in the pool."""

    policies: dict[str, Stamp] = field(default_factory=dict)
    templates: dict[str, Stamp] = field(default_factory=dict)
    links: dict[str, TemplateLink] = field(default_factory=dict)
    pages: int = 0
    """Of the list of policies. Several are not of one moment."""
    vanished: bool = False
    """Something was listed, and gone when it was fetched: by now the store may hold something else."""


class Looking:
    """One look.

    Args:
        calls: to the service.
        pool: of the store; is added to.
        limits: most policies, and most characters.
        pause: called after each item.
    """

    def __init__(self, calls: Calls, pool: Pool, limits: tuple[int, int], pause: Pause) -> None:
        self._calls = calls
        self._pool = pool
        self._most, self._largest = limits
        self._pause = pause
        self._uids: dict[EntityUid, EntityUid] = {}
        self._problems: list[Problem] = []

    def look(self) -> Found:
        """Raises AvpError, Stopped and Misconfigured."""
        found = Found()
        # Policies first: a link that is seen had its template then, so one that lacks it later has lost it since.
        self._list_policies(found)
        self._list_templates(found)
        self._fetch_policies(found)
        self._fetch_templates(found)
        self._settle_links(found)
        self._keep(found)
        if self._problems:
            raise Misconfigured(tuple(self._problems))
        return found

    # --- what there is

    def _list_policies(self, found: Found) -> None:
        store, operation = self._pool.store, "ListPolicies"
        pages = self._calls.answered(operation)
        for item in self._calls.pages(operation, "policies", self._most, policyStoreId=store):
            id = self._own(item, "policyId", operation)
            kind = item.get("policyType")
            if kind == "STATIC":
                found.policies[id] = self._stamp(item, operation)
                found.links.pop(id, None)
            elif kind == "TEMPLATE_LINKED":
                self._link(found, id, item, operation)
            else:
                text = f"policy `{id}` is of a type that is not known here: it cannot be replicated"
                self._problems.append(Problem(message=text, file=place(store, id)))
            self._pause()
        found.pages = self._calls.answered(operation) - pages

    def _list_templates(self, found: Found) -> None:
        operation = "ListPolicyTemplates"
        found.templates.clear()
        for item in self._calls.pages(operation, "policyTemplates", self._most, policyStoreId=self._pool.store):
            found.templates[self._own(item, "policyTemplateId", operation)] = self._stamp(item, operation)
            self._pause()
        self._by_id(found)

    def _by_id(self, found: Found) -> None:
        """Links that name their template by `name/…`; the reference promises an id, and takes both."""
        ids: dict[str, str] = {}
        for link in found.links.values():
            if link.template_id.startswith(NAME_PREFIX):
                ids = ids or {stamp.name: id for id, stamp in found.templates.items() if stamp.name}
                id = ids.get(short_name(link.template_id))
                if id is not None:
                    found.links[link.id] = replace(link, template_id=id)

    def _link(self, found: Found, id: str, item: Item, operation: str) -> None:
        definition = _member(item.get("definition"), "templateLinked", operation)
        values = link_values(definition, self._uids)
        name = short_name(item.get("name"))
        if values is None:
            text = f"link `{id}`: its slots are filled with what is no entity"
            self._problems.append(Problem(message=text, file=place(self._pool.store, id, name)))
            return
        link = TemplateLink(
            id=id,
            template_id=text_of(definition, "policyTemplateId", operation),
            values=values,
            file=place(self._pool.store, id, name),
            name=name,
        )
        known = self._pool.links.get(id)
        found.links[id] = known if known == link else link
        found.policies.pop(id, None)

    def _own(self, item: Item, member: str, operation: str) -> str:
        if item.get("policyStoreId") != self._pool.store:
            raise unreadable(operation, "an item of another policy store")
        return text_of(item, member, operation)

    def _stamp(self, item: Item, operation: str) -> Stamp:
        updated = item.get("lastUpdatedDate")
        if updated is None:
            raise unreadable(operation, "an item without `lastUpdatedDate`")
        return Stamp(updated, short_name(item.get("name")))

    # --- the texts

    def _fetch_policies(self, found: Found) -> None:
        wanted = [id for id, stamp in found.policies.items() if not _has(self._pool.policies, id, stamp)]
        operation, size = "BatchGetPolicy", self._pool.size
        for ids in _batched(wanted):
            for id, item in self._batch(ids):
                if item is None:
                    del found.policies[id]
                    found.vanished = True
                    continue
                definition = _member(item.get("definition"), "static", operation)
                fetched = self._read(id, item, text_of(definition, "statement", operation), operation, template=False)
                self._pool.policies[id] = fetched
                size += fetched.size
                self._pause()
            if size > self._largest:  # with what was replaced meanwhile
                self._check_size(self._pool.size)

    def _batch(self, ids: Sequence[str]) -> Iterator[tuple[str, Item | None]]:
        """Each policy with what it is; None: it is gone."""
        operation, store = "BatchGetPolicy", self._pool.store
        wanted = dict.fromkeys(ids)
        requests = [{"policyStoreId": store, "policyId": id} for id in ids]
        answer = self._calls(operation, "results", list, requests=requests)
        for item in answer["results"]:
            id = self._own(_mapping(item, operation), "policyId", operation)
            if id not in wanted:
                raise unreadable(operation, "a policy that was not asked for, or twice")
            del wanted[id]
            yield id, item
        for error in answer.get("errors") or ():
            code = text_of(_mapping(error, operation), "code", operation)
            if code == "POLICY_STORE_NOT_FOUND":
                raise AvpError(Kind.MISSING, operation, "the policy store is not there", code=code)
            id = text_of(error, "policyId", operation)
            if code == "POLICY_NOT_FOUND" and id in wanted:
                del wanted[id]
                yield id, None
        if wanted:
            raise unreadable(operation, "a policy without an answer")

    def _fetch_templates(self, found: Found) -> None:
        operation, store = "GetPolicyTemplate", self._pool.store
        for id in [id for id, stamp in found.templates.items() if not _has(self._pool.templates, id, stamp)]:
            try:
                item = self._calls(operation, "statement", str, policyStoreId=store, policyTemplateId=id)
            except AvpError as error:
                if error.kind is not Kind.MISSING:
                    raise
                del found.templates[id]  # its links must be gone too: `_settle_links` sees to that
                found.vanished = True
                continue
            text = text_of(item, "statement", operation)
            self._pool.templates[id] = self._read(id, item, text, operation, template=True)
            self._check_size(self._pool.size)

    def _read(self, id: str, item: Item, text: str, operation: str, *, template: bool) -> Fetched:
        # The date is that of this text, not the listing's: what changed in between would be missed for ever.
        stamp = self._stamp(item, operation)
        result = read_statement(self._pool.store, id, stamp.name, text, template=template)
        return Fetched(stamp, self._pool.same(result, id), len(text))

    def _check_size(self, size: int) -> None:
        if size > self._largest:
            text = f"the policy store holds more than {self._largest} characters of policies, which is the limit here"
            raise Misconfigured((Problem(message=text, file=f"avp:{self._pool.store}"),))

    # --- links and templates

    def _settle_links(self, found: Found) -> None:
        """A link whose template is gone must be gone too. If not, the two answers are of different moments."""
        for left in reversed(range(_LOOKS)):
            loose = [id for id, link in found.links.items() if link.template_id not in found.templates]
            for ids in _batched(loose):
                for id, item in self._batch(ids):
                    if item is None:
                        del found.links[id]
                        found.vanished = True
            if all(link.template_id in found.templates for link in found.links.values()):
                return
            if not left:
                break
            self._calls.pause(_MOMENT)
            self._list_templates(found)
            self._fetch_templates(found)
        raise AvpError(Kind.CONFLICT, "ListPolicyTemplates", "links and templates do not fit together: still changing")

    def _keep(self, found: Found) -> None:
        """Forgets what is gone, and finds out what is wrong with what is there."""
        pool = self._pool
        gone: list[object] = []
        for texts, ids in ((pool.policies, found.policies), (pool.templates, found.templates)):
            gone += [texts.pop(id) for id in [*texts] if id not in ids]
            for id in ids:
                if isinstance(result := texts[id].result, Problem):
                    self._problems.append(result)
                self._pause()
        take_apart(gone, self._pause)
        pool.links = found.links


def _has(pool: Mapping[str, Fetched], id: str, stamp: Stamp) -> bool:
    fetched = pool.get(id)
    return fetched is not None and fetched.stamp == stamp


def _mapping(value: object, operation: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise unreadable(operation, "an item is no object")
    return value


def _member(value: object, member: str, operation: str) -> Mapping[str, Any]:
    return _mapping(_mapping(value, operation).get(member), operation)


def _batched(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
