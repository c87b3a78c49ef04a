"""Everything that is wrong is told, at load, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.wiring import assemble


def told(app):
    assembled = assemble(app.config)
    lines = [str(problem).replace(f"{app.folder}/", "") for problem in assembled.problems]
    return assembled.assembly, lines


def test_a_sound_application_has_nothing_to_say(app):
    assembly, lines = told(app)
    assert lines == []
    assert assembly is not None
    assert assembly.issuers[0].source.principal_type == "A::User"


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("routes.yaml", 'Action::"read"', 'Action::"write"', 'routes.yaml:1: route `read`: the schema has no action `A::Action::"write"`'),
        ("routes.yaml", "A::Doc,", "A::User,", "takes no resource of type `A::User`; it takes `A::Doc`"),
        ("routes.yaml", "type: ip", "type: string", "`context.ip` is mapped as `string`, the schema declares another type"),
        ("routes.yaml", "{ip:", "{iq:", "warning: route `read`: the context of"),
        ("routes.yaml", "  headers", '  anonymous: A::Group::"x"\n  headers', "takes no principal of type `A::Group`"),
        ("routes.yaml", "  headers", "  issuers: [https://other]\n  headers", "is none of the configured issuers"),
        ("routes.yaml", 'id: "{path.id}"', 'id: "{path.id}", parents: [{type: A::User, id: x}]', "does not let `A::Doc` be in `A::User`"),
        ("routes.yaml", 'id: "{path.id}"', 'id: "{path.id}", parents: [{type: A::Nope, id: x}]', "the schema has no entity type `A::Nope`"),
        ("policies/schema.cedarschema", 'action "read" appliesTo {', 'action "write" appliesTo {', 'the schema has no action `A::Action::"read"`'),
        ("policies/schema.cedarschema", 'action "read" appliesTo', 'action "read", "write"; action "other" appliesTo', "it takes none"),
        ("policies/schema.cedarschema", "{ ip?:", "{ must: Long, ip?:", "the schema requires `context.must`"),
        ("policies/all.cedar", "A::Group", "A::Nope", "policies/all.cedar:1: policy `staff`: unrecognized entity type"),
        ("policies/all.cedar", ";", "", "policies/all.cedar:1: "),
        ("policies/schema.cedarschema", "entity Doc", "entity Doc,", "policies/schema.cedarschema"),
        ("authz.yaml", "type: A::Group", "type: A::Doc", "does not let `A::User` be in `A::Doc`"),
        ("authz.yaml", "A::Group}", "A::Group}\n    principal: {type: A::Nope}", "the schema has no entity type `A::Nope`"),
        ("authz.yaml", "jwks.json", "none.json", "authz.yaml:3: `jwks_file`: "),
        ("authz.yaml", "[ES256]", "[HS256]", "authz.yaml:5: "),
        ("authz.yaml", "path: policies", "path: nowhere", "is no folder"),
        ("authz.yaml", "deny.yaml", "none.yaml", "authz.yaml:10: `none.yaml` cannot be read"),
        ("deny.yaml", "{}", "{jtis: []}", "deny.yaml:1: "),
        ("jwks.json", "{", "[", "jwks.json: "),
    ],
)  # fmt: skip
def test_misfits_are_told_with_file_and_line(app, name, old, new, expected):
    app.edit(name, old, new)
    assembly, lines = told(app)
    assert any(expected in line for line in lines), lines
    assert (assembly is not None) == all("warning: " in line for line in lines)


@pytest.mark.parametrize(
    ("resource", "unlisted"),
    [
        ('{type: A::Colour, id: "red"}', ""),
        ('{type: A::Colour, id: "{path.id}"}', ""),  # the request's to say
        ('{type: A::Colour, id: "blue"}', 'A::Colour::"blue"'),
        ('{type: A::Doc, id: "{path.id}", parents: [{type: A::Colour, id: red}]}', ""),
        ('{type: A::Doc, id: "{path.id}", parents: [{type: A::Colour, id: "x{path.id}"}]}', ""),
        ('{type: A::Doc, id: "{path.id}", parents: [{type: A::Colour, id: blue}]}', 'A::Colour::"blue"'),
        ('{type: A::Doc, id: "{path.id}"}\n  anonymous: A::Anyone::"nobody"', ""),
        ('{type: A::Doc, id: "{path.id}"}\n  anonymous: A::Anyone::"somebody"', 'A::Anyone::"somebody"'),
    ],
)
def test_entities_that_the_schema_does_not_list_are_told(app, resource, unlisted):
    listed = 'entity Colour enum ["red", "green"]; entity Anyone enum ["nobody"]; entity Doc in [Colour] ='
    app.edit("policies/schema.cedarschema", "entity Doc =", listed)
    app.edit("policies/schema.cedarschema", "User, resource: Doc", "[User, Anyone], resource: [Doc, Colour]")
    app.edit("routes.yaml", '{type: A::Doc, id: "{path.id}"}', resource)
    app.edit("authz.yaml", "    groups", "    principal: {type: A::User}\n    groups")
    assembly, lines = told(app)
    text = f"routes.yaml:1: route `read`: the schema does not list `{unlisted}` among the entities of `"
    assert [line.partition("`A::")[0] for line in lines] == ([text.partition("`A::")[0]] if unlisted else [])
    assert all(text in line for line in lines)
    assert (assembly is None) == bool(unlisted)


def test_problems_of_all_files_are_told_together(app):
    app.edit("routes.yaml", "A::Doc,", "A::User,")
    app.edit("authz.yaml", "jwks.json", "none.json")
    app.edit("deny.yaml", "{}", "[]")
    _, lines = told(app)
    files = {line.partition(":")[0] for line in lines}
    assert files == {"routes.yaml", "authz.yaml", "deny.yaml"}


def test_problems_of_routes_and_policies_are_told_together(app):
    app.edit("routes.yaml", "A::Doc,", "1Doc,")
    app.edit("policies/all.cedar", "A::Group", "A::Nope")
    _, lines = told(app)
    assert {line.partition(":")[0] for line in lines} == {"routes.yaml", "policies/all.cedar"}


def test_no_schema_no_routes_no_policies_are_warned_of(app):
    app.write("routes.yaml", "[]")
    app.write("policies/all.cedar", "// none yet\n")
    (app.folder / "policies/schema.cedarschema").unlink()
    app.edit("authz.yaml", "    groups", "    principal: {type: A::User}\n    groups")
    assembly, lines = told(app)
    assert assembly is not None
    assert len(lines) == 3
    assert all(line.startswith("warning: there ") for line in lines)


def test_links_are_policies(app):
    app.write("policies/all.cedar", '@id("t") permit(principal in ?principal, action, resource);')
    assert told(app)[1] == ["warning: there are no policies: every request is denied"]
    app.write("policies/links.json", '[{"id": "l", "template": "t", "principal": "A::Group::\\"staff\\""}]')
    assert told(app)[1] == []


def test_cognito_pools_are_known_by_their_issuer(app):
    pool = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Abc123"
    app.edit("authz.yaml", "https://login.example.com", pool)
    assembly, lines = told(app)
    assert lines == []
    source = assembly.issuers[0].source
    assert (source.prefix, source.group_claim) == ("eu-west-1_Abc123", "cognito:groups")


def test_every_example_configuration_of_the_samples_fits(app):
    sample = Path(__file__).parents[2] / "policies" / "documents"
    app.edit("authz.yaml", "path: policies", f"path: {sample}")
    app.edit("authz.yaml", "routes: routes.yaml", f"routes: {sample}/routes.yaml")
    app.edit("authz.yaml", "A::Group", "Documents::Role")
    assembly, lines = told(app)
    assert lines == []
    assert len(assembly.compiled.snapshot.policies) >= 10
