"""A schema in either of its forms is read into one resolved model, or refused with line and remedy."""

import json

import cedarpy
import pytest

from authz.core.cedar_schema import (
    ActionDecl,
    Attribute,
    BoolType,
    CedarSchemaError,
    EntityDecl,
    EntityType,
    ExtensionType,
    LongType,
    RecordType,
    SetType,
    StringType,
    load_schema,
    parse_schema,
    schema_from_json,
    to_json,
)
from authz.core.cedar_schema_resolve import MAX_SCHEMA_TYPES
from authz.core.cedar_schema_written import MAX_TYPE_DEPTH

STRING, LONG, BOOL = StringType(), LongType(), BoolType()

DOCUMENTS = """
// A small application
type Place = { country: String, "post code"?: String, };
@doc("the application")
namespace Docs::App {
  type Labels = Set<Label>;   // used before it is declared
  type Label = __cedar::String;
  entity User, Bot in [Group, Docs::App::Team] = {
    @doc("where") home: Place,
    labels: Labels,
    manager?: User,
    joined: datetime, paid: decimal, ip: ipaddr, shift: duration,
  } tags Set<Long>;
  entity Group;
  entity Team in Group {active: Bool};
  entity Level enum ["low", "h\\u{69}gh"];
  type Context = { ip: ipaddr, nested: { level: Level, why?: { who: Team } } };
  action read, "write all" in [anything, Docs::App::Action::"some", Action::"any"] appliesTo {
    resource: Group, principal: [User, Bot], context: Context
  };
  action anything in "every one";
  action some, "every one";
  action ping appliesTo { principal: User, resource: [Group, Team], context: {}, };
}
action any;
"""


def attributes(**types):
    return {name: Attribute(*given) if isinstance(given, tuple) else Attribute(given) for name, given in types.items()}


def engine_takes(text):
    """The engine's verdict on a schema text: None for good, else what it says."""
    try:
        (cedarpy.Schema.from_json_str if text.lstrip().startswith("{") else cedarpy.Schema.from_str)(text)
    except ValueError as error:
        return str(error)
    return None


def refused(text):
    with pytest.raises(CedarSchemaError) as caught:
        load_schema(text)
    return caught.value.line, caught.value.message


# --- the model


def test_entities_are_resolved():
    entities = parse_schema(DOCUMENTS).entities
    assert engine_takes(DOCUMENTS) is None
    level, team = EntityType("Docs::App::Level"), EntityType("Docs::App::Team")
    assert sorted(entities) == [f"Docs::App::{name}" for name in ("Bot", "Group", "Level", "Team", "User")]
    place = RecordType({"country": Attribute(STRING), "post code": Attribute(STRING, required=False)})
    assert entities["Docs::App::Bot"] == EntityDecl(
        name="Docs::App::Bot",
        member_of=frozenset({"Docs::App::Group", "Docs::App::Team"}),
        attributes=attributes(
            home=place,
            labels=SetType(STRING),
            manager=(EntityType("Docs::App::User"), False),
            joined=ExtensionType("datetime"),
            paid=ExtensionType("decimal"),
            ip=ExtensionType("ipaddr"),
            shift=ExtensionType("duration"),
        ),
        tags=SetType(LONG),
        enum=None,
    )
    assert entities["Docs::App::Team"].attributes == attributes(active=BOOL)
    assert entities["Docs::App::Team"].tags is None
    assert entities["Docs::App::Level"].enum == frozenset({"low", "high"})
    context = parse_schema(DOCUMENTS).actions["Docs::App::Action", "read"].context
    nested = RecordType(attributes(level=level, why=(RecordType(attributes(who=team)), False)))
    assert context == RecordType(attributes(ip=ExtensionType("ipaddr"), nested=nested))


def test_actions_carry_their_direct_groups_and_know_all_of_them():
    schema = parse_schema(DOCUMENTS)
    kind = "Docs::App::Action"
    assert schema.actions[kind, "ping"] == ActionDecl(
        uid_type=kind,
        id="ping",
        groups=(),
        principals=frozenset({"Docs::App::User"}),
        resources=frozenset({"Docs::App::Group", "Docs::App::Team"}),
        context=RecordType({}),
    )
    assert schema.actions[kind, "write all"].groups == ((kind, "anything"), (kind, "some"), ("Action", "any"))
    assert schema.actions[kind, "anything"].groups == ((kind, "every one"),)
    assert schema.action_ancestors(kind, "read") == {
        *((kind, "anything"), (kind, "every one"), (kind, "some"), ("Action", "any")),
    }
    assert schema.action_ancestors(kind, "some") == frozenset()
    assert schema.action_ancestors("Action", "read") == frozenset()
    assert schema.actions["Action", "any"].principals == frozenset()
    assert schema.principal_types() == {"Docs::App::User", "Docs::App::Bot"}


def test_groups_are_transitive_across_namespaces():
    schema = parse_schema('action a; namespace N { action b in a; action c in b; } action d in N::Action::"c";')
    assert schema.action_ancestors("Action", "d") == {("N::Action", "c"), ("N::Action", "b"), ("Action", "a")}


def test_nothing_is_a_schema_too():
    for text in ("", "// none\n", "{}", " {} "):
        schema = load_schema(text)
        assert (dict(schema.entities), dict(schema.actions), schema.principal_types()) == ({}, {}, frozenset())
        assert engine_takes(text) is None


def test_the_model_cannot_be_edited():
    schema = parse_schema("entity U = { a: Long };")
    for mapping in (schema.entities, schema.actions, schema.entities["U"].attributes):
        assert not hasattr(mapping, "__setitem__")
    with pytest.raises(AttributeError):
        schema.entities["U"].name = "V"  # type: ignore[misc]  # what is tested


# --- names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("entity U = { x: String };", STRING),
        ("entity String; entity U = { x: String };", EntityType("String")),
        ("entity String; entity U = { x: __cedar::String };", STRING),
        ("type ipaddr = Long; entity U = { x: ipaddr };", LONG),
        ("type ipaddr = Long; entity U = { x: __cedar::ipaddr };", ExtensionType("ipaddr")),
        ("entity V; type V = Long; entity U = { x: V };", LONG),
        ("namespace N { entity String; } entity U = { x: String };", STRING),
        ("namespace N { type T = Long; } entity U = { x: N::T };", LONG),
        ("namespace N { entity T; } entity U = { x: Set<N::T> };", SetType(EntityType("N::T"))),
        ("entity Set; entity U = { x: Set };", EntityType("Set")),
        ("entity U = { x: Action }; action a;", EntityType("Action")),
        ("entity U = { x: U };", EntityType("U")),
        ("type A = B; type B = { c: C }; type C = Set<D>; type D = U; entity U = { x: A };", "see below"),
        ("entity U { x: String, x: Long };", LONG),
        ('entity U { "x"  ? : Bool, };', BOOL),
        ("entity type; entity U { x: type };", EntityType("type")),
    ],
)
def test_a_name_means_the_nearest_declaration(text, expected):
    if expected == "see below":
        expected = RecordType(attributes(c=SetType(EntityType("U"))))
    assert parse_schema(text).entities["U"].attributes["x"].type == expected
    assert engine_takes(text) is None


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("entity T;", EntityType("N::T")),
        ("type T = Long;", LONG),
        ("entity T; type T = Long;", LONG),
        ("type String = Bool; type T = String;", None),
        ("", EntityType("T")),
    ],
)
def test_in_a_namespace_its_own_declarations_come_first(declared, expected):
    outer = "" if declared else "entity T;"
    text = f"{outer} namespace N {{ {declared} entity U = {{ x: T }}; }}"
    if expected is not None:
        assert parse_schema(text).entities["N::U"].attributes["x"].type == expected
        assert engine_takes(text) is None
    else:
        assert parse_schema(text).entities["N::U"].attributes["x"].type == BOOL
        assert "reserved" in engine_takes(text)  # the engine, which comes second, refuses it


def test_keywords_may_be_names():
    names = "principal, action, resource, context, namespace, entity, type, tags, enum, Set, attributes, appliesTo"
    text = f"entity {names}; action {names} appliesTo {{ principal: [{names}], resource: principal }};"
    schema = parse_schema(text)
    assert schema.entities.keys() == schema.actions["Action", "type"].principals == set(names.split(", "))
    assert engine_takes(text) is None


# --- what is refused


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("entity U\nentity V;", 2, "expected `;` at the end of the declaration, found `entity`"),
        ("\nentiti U;", 2, "expected `entity`, `action`, `type` or `namespace`, found `entiti`"),
        ("entity U = \n Long;", 2, "expected `{` before the attributes, found `Long`"),
        ("entity U = { a Long };", 1, "expected `:` after the attribute `a`, found `Long`"),
        ("entity U = { a: Long b: Long };", 1, "expected `,` or `}` in the record, found `b`"),
        ("entity U = { a: Set<Long };", 1, "expected `>` behind the type of the set's elements, found `}`"),
        ("entity U = { a: };", 1, "expected a type's name, found `}`"),
        ("entity U = {", 1, "expected the attribute's name, found the end of the text"),
        ('entity "U";', 1, 'expected the entity type\'s name, found `"U"`'),
        ("entity U in [V W]; entity V, W;", 1, "expected `,` or `]` in the list of entity types, found `W`"),
        ("entity U enum [a];", 1, 'expected an entity id, in `"`, found `a`'),
        ("action a in [b c];", 1, "expected `,` or `]` in the list of action groups, found `c`"),
        ("action a appliesTo { who: U };", 1, "expected `principal`, `resource` or `context`, found `who`"),
        ("entity U; action a appliesTo { principal: U, principal: U };", 1, "`principal` stands twice: remove one"),
        ("action a appliesTo { context: {}, context: {} };", 1, "`context` stands twice: remove one"),
        ("entity U; action a appliesTo { principal: U resource: U };", 1, "expected `,` or `}` in `appliesTo`"),
        ('entity U; action a appliesTo { principal: U::"x" };', 1, "found an entity of type `U`"),
        ("action a attributes { b: Long };", 1, "actions have no attributes"),
        ("namespace N {\n entity U;", 2, "expected `entity`, `action`, `type` or `namespace`, found the end"),
        ("namespace N {}\nnamespace N {}", 2, "namespace `N` stands twice: put its declarations together"),
        ("entity U;\nentity V, U;", 2, "entity type `U` is declared twice: remove or rename one"),
        ('action a;\naction "a";', 2, "action `a` is declared twice: remove or rename one"),
        ("type T = Long;\ntype T = Long;", 2, "common type `T` is declared twice: remove or rename one"),
        ("entity U = {\n a: Nope };", 2, "unknown name `Nope`: declare it as `type` or `entity`, for entity `U`"),
        ("namespace N { entity U in Nope; }", 1, "unknown name `Nope` in namespace `N`: declare it as `entity`"),
        ("type T = Long; entity U in T;", 1, "unknown name `T`: declare it as `entity`"),
        ("entity U = { a: Action };", 1, "unknown name `Action`"),
        ("entity U in Action; action a;", 1, "expected an entity type, found `Action`"),
        ("entity U = { a: Boolean };", 1, "unknown name `Boolean`"),
        ("entity U; action a appliesTo { principal: U, resource: U, context: U };", 1, "declare it as `type`"),
        (
            "type T = Long;\nentity U;\naction a appliesTo { principal: U, resource: U, context: T };",
            3,
            "expected a record",
        ),
        ("action a in b;", 1, "unknown action group `b`: declare it as `action`"),
        ('action a in N::Action::"a";', 1, "unknown action group `a`"),
        ("\ntype A = { a: Set<B> };\ntype B = A;", 2, "common types name each other in a circle: `A`, `B`, `A`;"),
        ("type A = A;", 1, "common types name each other in a circle: `A`, `A`; break it up"),
        ("action x;\naction a in b; action b in c; action c in a;", 2, "circle: `a`, `b`, `c`, `a`; break it up"),
        ("\ufeffentity U;", 1, "unexpected byte order mark"),
        ("entity U;\n\0", 2, "unexpected NUL character"),
        ("entity U;\n# no", 2, "unexpected character `#`: comments begin with `//`"),
        ("entity U { \n'a': Long };", 2, "unexpected character `'`: strings are written with `\"`"),
        ('entity U { "a', 1, "unterminated string"),
        ('entity U {\n "\\q": Long };', 2, "invalid escape `\\q`: write `\\\\` for a backslash"),
        ("@ entity U;;", 1, "expected `entity`, `action`, `type` or `namespace`, found `U`"),
        ("@a(1) entity U;", 1, "expected the annotation's value, in `\"`, found `1`"),
        ('@a("x" entity U;', 1, "expected `)` after the annotation's value, found `entity`"),
        ("entity U :: V;", 1, "expected `;` at the end of the declaration, found `::`"),
        ("entity U in A::; entity A;", 1, "expected a name after `A::`, found `;`"),
        ("[]", 1, "expected `entity`, `action`, `type` or `namespace`, found `[`"),
    ],
)
def test_refusals_say_line_and_remedy(text, line, said):
    found_line, message = refused(text)
    assert (found_line, said in message) == (line, True), (found_line, message)
    assert engine_takes(text) is not None


# --- limits


def nested(opening, depth, closing):
    return f"entity U = {{ a: {opening * (depth - 1)}Long{closing * (depth - 1)} }};"


@pytest.mark.parametrize(("opening", "closing"), [("Set<", ">"), ("{ b: ", "}"), ("Set<{c?:", "}>")])
def test_nesting_is_bounded_before_anything_recurses(opening, closing):
    step = opening.count("<") + opening.count("{")
    fits = nested(opening, MAX_TYPE_DEPTH // step, closing)
    assert parse_schema(fits)
    assert refused(f"\n{nested(opening, 100_000, closing)}")[0] == 2


def test_common_types_nest_no_deeper_than_written_ones():
    def chain(length):
        links = "".join(f"type T{n} = Set<T{n - 1}>;" for n in range(1, length + 1))
        return f"type T0 = Long; {links}"

    assert parse_schema(chain(MAX_TYPE_DEPTH))
    assert f"nests more than {MAX_TYPE_DEPTH} sets and records" in refused(chain(MAX_TYPE_DEPTH + 1))[1]


def test_a_long_chain_of_names_is_no_nesting():
    links = "".join(f"type T{n} = T{n - 1};" for n in range(1, 5000))
    schema = parse_schema(f"{links} type T0 = Long; entity U = {{ a: T4999 }};")
    assert schema.entities["U"].attributes["a"].type == LONG


def test_doubling_common_types_are_refused_before_they_cost_anything():
    def doubling(length):
        links = "".join(f"type T{n} = {{ a: T{n - 1}, b: T{n - 1} }};" for n in range(1, length + 1))
        return f"type T0 = Long; {links}"

    assert parse_schema(doubling(15))
    assert f"more than {MAX_SCHEMA_TYPES} types, counted up to type `T" in refused(doubling(45))[1]


def test_what_is_as_deep_as_allowed_is_read_again_by_the_engine():
    text = nested("{ b: ", MAX_TYPE_DEPTH, "}")
    written = json.dumps(to_json(parse_schema(text)))
    assert engine_takes(written) is None
    assert engine_takes(text) is None
    assert schema_from_json(json.loads(written)) == parse_schema(text)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("entity E{0} in [E{1}];", "more than 500 levels of entity types, from `E0` up"),
        ("action a{0} in a{1};", "more than 500 levels of action groups, from `a0` up"),
    ],
)
def test_a_long_way_up_is_refused_for_the_engine_would_climb_it_to_its_end(declared, said):
    """Found with cedarpy 4.12.2: some 2,000 levels end the process, on a stack of 1 MiB."""
    last = declared.partition(" in")[0] + ";"

    def chain(levels):
        return "\n".join([*(declared.format(n, n + 1) for n in range(levels - 1)), last.format(levels - 1)])

    engine_takes(chain(500))
    parse_schema(chain(500))
    assert refused(chain(501)) == (1, said + ": flatten them")


def test_entity_types_may_contain_each_other():
    parse_schema("entity A in [A, B]; entity B in [A];")
