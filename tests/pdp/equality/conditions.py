"""What stands in `when` and `unless`: true, false and erring, over attributes, hierarchies, literals and the context."""

from __future__ import annotations

from authz.core.model import EntityUid
from tests.pdp.equality.names import Draw, Names, chance, literal, pick

# {user}, {doc}, {folder}, {group}, {action}: an entity; {User}, {Folder}: a type; {who}: principal or resource.
_HIERARCHIES = (
    "principal in {group}",
    "resource in {folder}",
    "principal in [{group}, {user}]",
    "principal in resource.team",
    "principal in resource.groups",
    "resource.owner in {group}",
    "resource.folder in {folder}",
    "principal.team in resource.team",
    "{who}.owner.team in {group}",
    "{who} has owner && {who}.owner has team && {who}.owner.team in {group}",
    "action in {action}",
    "action in [{action}, {action2}]",
    "principal is {User} && principal in {group}",
    "resource is {Folder} in {folder}",
)
_ATTRIBUTES = (
    "{who} has level && {who}.level > 1",
    "{who}.level > 1",
    "{who} has owner && {who}.owner == principal",
    "{who} has info.n && {who}.info.n > 1",
    "{who} has info && {who}.info has by && {who}.info.by has level && {who}.info.by.level > 1",
    "{who} has info.by.team && {who}.info.by.team in {group}",
    "{who} has groups && {who}.groups.contains({group})",
    "{who} has groups && {who}.groups.containsAny([{group}, {group2}])",
    '{who} has ip && {who}.ip.isInRange(ip("10.0.0.0/8"))',
    "{who}.ip.isLoopback()",
    '{who} has name && {who}.name like "a*"',
    "{who} has flag && {who}.flag",
    '{who}["level"] == 2',
    '{who}.hasTag("k") && {who}.getTag("k") == "v"',
    '{who}.getTag("k") == "v"',
    "{who}.extra",
    "[principal, resource].contains({user})",
    '{{"a": principal}}.a == {user}',
    # by another way
    '{who} has "un less" && {who}["un less"] > 1',
    '{who} has "lev\\u{{65}}l" && {who}["l\\x65vel"] > 1',
    "(if principal == resource then principal else resource) has level",
    "(if principal has level then principal else resource).owner == {user}",
    '{{"a": {who}}}.a has level && {{"a": {who}}}.a.level > 1',
    "{who} has info && {who}.info == {{n: 2}}",
    "{who} has info && {{a: {who}.info}} != {{a: {{n: 1, by: {user}}}}}",
    "{who} has owner && {who}.owner has info && {who}.owner.info has by && {who}.owner.info.by in {group}",
    "{who} has name && {who}.hasTag({who}.name)",
    # strings that read as if they were Cedar
    '"x[" != "a" && {who}["level"] == 2',
    '"x has" != "a" && {who} has "un less" && {who}["un less"] > 1',
    '"when context.level" != "a" && {who} has flag && {who}["flag"]',
    '"a." != ".level" && {who}["name"] like "a*"',
    '["un less["].contains("x") || {who}["level"] > 1',
)
_CONTEXT = (
    '"context" != "context." && context has "who" && context["who"] in {group}',
    '"// context" != "a" && context["level"] > 1',
    "context.who in {group}",
    "context has who && context.who in {group}",
    "context has groups && principal in context.groups",
    "context has who && context.who has team && context.who.team in {group}",
    'context has who && context["who"] has level && context.who.level > 1',
    "context has who && context == {{who: {user}}}",
    "context.level < 2",
    "context has level && context.level < 2",
    'context has ip && context.ip.isInRange(ip("10.0.0.0/8"))',
    'context has token && context.token has scope && context.token.scope.contains("s")',
    "context has token.n && context.token.n > 1",
    "context.token.n > 1",
    'context.token.sub == "a"',
    'context has "level" || context has who',
    "[context].contains({{}})",
)
_COMPARED = (  # what is the same for many resources
    "resource has level && resource.level > 1",
    "resource has level && 2 <= resource.level && resource.level < 3",
    "resource has level && principal has level && resource.level == principal.level",
    "resource has level && context has level && context.level < resource.level",
    "resource has level && !(resource.level != 2)",
    "resource has level && resource.level + 1 > 2",
    "resource has owner && resource.owner == principal",
    "resource has owner && principal == resource.owner && resource != {doc}",
    "resource has owner && resource.owner != {user}",
    "resource has owner && resource.owner in {group}",
    "resource has team && principal in resource.team",
    "resource has team && principal has team && principal.team in resource.team",
    "resource has team && resource.team == principal",
    "resource has groups && principal in resource.groups",
    "resource has groups && {group} in resource.groups",
    "resource has groups && principal has team && resource.groups.contains(principal.team)",
    "resource has groups && resource.groups.contains({group})",
    'resource has name && resource.name == "a"',
    'resource has name && principal has name && principal.name == resource["name"]',
    "resource has flag && resource.flag == true",
    'resource has ip && resource.ip == ip("127.0.0.1")',
    "resource has info && resource.info.n == 2",
    "resource has owner && resource.owner has level && resource.owner.level > 1",
    "resource has folder && resource in resource.folder",
    "resource.level == 2",
    "resource.owner == principal || resource.level > 1",
    "if resource.flag then resource.level > 1 else resource.owner == principal",
)
_LITERALS = (  # what stands in the store alone, or nowhere
    "{user} in {group}",
    "{folder} in {folder2}",
    "{group} in {group2}",
    "{action} in {action2}",
    "{user} has level && {user}.level > 1",
    "{user}.level > 1",
    "{folder} has owner && {folder}.owner == principal",
    "{group}.owner.owner.level < 3",
    '{user}.hasTag("k")',
    "[{who}].contains({user}) || {user} has team",
    "true",
    "false",
)
_ERRING = (
    "{who} has level && {who}.level + 9223372036854775807 > 0",
    "9223372036854775807 + 1 > 0",
    "9223372036854775807 * 2 > 0",
    "principal == resource || (0 - 9223372036854775807) - 2 < 0",
    "{who} has level && {who}.level * 9223372036854775807 > 2",
    "resource has level && (resource.level > 1 || resource.level - 9223372036854775807 - 9 < 0)",
    "context has level && context.level + 9223372036854775807 > 0",
    "{who}.level > 1",
    "{user}.level > 1",
    "{who}.owner == {user}",
    "-9223372036854775808 - 1 < 0",
    'principal in "a"',
    'principal in [{user}, "a"]',
    '1 == "1" || 1 < "1"',
    'ip("no address").isIpv4()',
    "if 1 then true else false",
    "{who}.missing || true",
)
_KINDS = (_HIERARCHIES,) * 2 + (_ATTRIBUTES,) * 3 + (_COMPARED,) * 2 + (_CONTEXT,) * 3 + (_LITERALS, _ERRING, _ERRING)


def conditions(draw: Draw, names: Names) -> str:
    """None, one or two clauses."""
    count = pick(draw, (1, 1, 1, 0, 0, 2))
    return " ".join(f"{pick(draw, ('when', 'when', 'unless'))} {{ {_expression(draw, names)} }}" for _ in range(count))


def _expression(draw: Draw, names: Names) -> str:
    first = _filled(draw, names)
    joined = pick(draw, ("", "", "", "", "", "&&", "||", "!", "if"))
    if joined == "!":
        return f"!({first})"
    if joined == "if":
        return f"if {first} then {_filled(draw, names)} else principal != resource"
    return f"({first}) {joined} ({_filled(draw, names)})" if joined else first


def _filled(draw: Draw, names: Names) -> str:
    template = pick(draw, pick(draw, _KINDS))
    style = pick(draw, (0, 0, 0, 1, 2))

    def one(options: tuple[EntityUid, ...]) -> str:
        return literal(pick(draw, names.all if chance(draw, 5) else options), style)

    options = {
        "user": names.users,
        "doc": names.docs,
        "folder": names.folders,
        "group": names.groups,
        "action": names.actions,
    }
    chosen = {
        **{name: one(found) for name, found in options.items() if f"{{{name}}}" in template},
        **{f"{name}2": one(found) for name, found in options.items() if f"{{{name}2}}" in template},
    }
    if "{who}" in template:
        chosen["who"] = pick(draw, ("principal", "resource"))
    return template.format(User=names.user, Folder=names.folder, **chosen)
