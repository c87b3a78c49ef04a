"""Schemas in Cedar's syntax that the engine takes, for Hypothesis."""

from random import Random

from hypothesis import strategies as st

# By namespace: entity types and common types to declare. No name of the empty namespace is declared again
# (RFC 70); `Bool`, `ipaddr` and `Set` hide what is built in.
ENTITIES = {"": ("User", "Set", "ipaddr"), "A": ("Group", "Bool", "type"), "A::B": ("Group", "User2", "in_")}
COMMONS = {"": ("Place", "duration"), "A": ("Group", "Tag"), "A::B": ("Tag", "Deep")}
PRIMITIVES = ("__cedar::String", "__cedar::Long", "__cedar::Bool", "__cedar::decimal", "__cedar::ipaddr", "datetime")
BARE = ("String", "Long", "Bool", "decimal")
NAMES = ("a", "type", '"b.c"', '"\\n\\"x"', '""', '"in"', "Set", '"ü"')
SPACES = (" ", " ", " ", "\n", "\t ", ' // ; } "\n', "\r\n")
NOTES = ("", "", "", '@doc("a}b;") ', "@note ")


class Writer:
    """Draws one schema.

    `qualified` are its entity types; `usable` are the types that may be named by now, each common type once it is
    declared, for they may not name each other in a circle.
    """

    def __init__(self, random):
        self.random = random
        self.entities = {space: self.some(names, 1) for space, names in ENTITIES.items()}
        self.commons = {space: self.some(names, 0) for space, names in COMMONS.items()}
        self.qualified = [qualify(space, name) for space, names in self.entities.items() for name in names]
        commons = {qualify(space, name) for space, names in self.commons.items() for name in names}
        self.usable = [name for name in self.qualified if name not in commons]

    def some(self, options, at_least):
        return self.random.sample(options, self.random.randint(at_least, len(options)))

    def schema(self):
        declared: dict[str, list[str]] = {space: [] for space in ENTITIES}
        for space, commons in self.commons.items():
            for name in commons:
                declared[space].append(f"type {name} = {self.type(space)};")
                self.usable.append(qualify(space, name))
        for space, entities in self.entities.items():
            for name in entities:
                declared[space].append(f"{self.note()}entity {name} {self.entity_body(space)};")
            declared[space].append(self.actions(space))
            self.random.shuffle(declared[space])
        parts = [
            f"{self.note()}namespace {space} {{ {' '.join(inner)} }}" if space else " ".join(inner)
            for space, inner in declared.items()
        ]
        self.random.shuffle(parts)
        return " ".join(parts)

    def note(self):
        return self.random.choice(NOTES)

    def type(self, space, depth=0):
        kind = self.random.randint(0, 6 if depth < 3 else 4)
        if kind == 6:
            return f"Set<{self.type(space, depth + 1)}>"
        if kind == 5:
            return self.record(space, depth + 1)
        return self.random.choice(self.near(space) if kind > 2 else [*PRIMITIVES, *self.usable])

    def near(self, space):
        """Types that need no namespace before them here."""
        inside = [name.removeprefix(f"{space}::") for name in self.usable]
        return [*BARE, *(["Action"] if space else []), *(name for name in inside if "::" not in name)]

    def record(self, space, depth=0):
        names = self.random.sample(NAMES, self.random.randint(0, 3))
        members = [f"{self.note()}{name}{self.random.choice(['', '?'])}: {self.type(space, depth)}" for name in names]
        return f"{{ {', '.join(members)} }}"

    def entity_body(self, space):
        if self.random.randint(0, 4) == 4:
            return self.random.choice(["", 'enum ["one", "t\\"wo"]'])
        parents = ", ".join(self.some(self.qualified, 0))
        tags = f"tags {self.type(space)}" if self.random.randint(0, 1) else ""
        return f"in [{parents}] {self.random.choice(['=', ''])} {self.record(space)} {tags}"

    def actions(self, space):
        mark = space.replace("::", "") or "E"  # no action is called as one of the empty namespace
        groups = ['Action::"gE"', f"g{mark}", f'"top.{mark}"', f'{qualify(space, "Action")}::"g{mark}"']
        every = f"[{', '.join(self.qualified)}]"
        context = f", context: {self.record(space)}" if self.random.randint(0, 1) else ""
        return (
            f'action g{mark} in "top.{mark}"; action "top.{mark}"; '
            f'action use{mark}, "use-{mark}" in [{", ".join(self.some(groups, 1))}] '
            f"appliesTo {{ resource: {every}, principal: {every}{context} }};"
        )


def qualify(space, name):
    return f"{space}::{name}" if space else name


@st.composite
def schemas(draw):
    """A schema text that the engine takes, with two actions of every namespace that apply to every entity type."""
    words = Writer(draw(st.randoms(use_true_random=False))).schema().split(" ")
    spaces = Random(draw(st.integers(0, 2**32)))
    return "".join(word + spaces.choice(SPACES) for word in words)
