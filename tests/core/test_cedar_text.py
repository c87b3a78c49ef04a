"""Cedar text is cut into the statements that the engine finds, with the right lines, or refused with a reason."""

import json
import re

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.cedar_text import CedarTextError, Statement, scan_statements

PLAIN = "permit(principal, action, resource);"


def engine_count(text):
    """How many policies and templates the engine finds; None where it refuses the text."""
    try:
        found = cedarpy.PolicySet.from_str(text)
    except ValueError:
        return None
    return len(found) + len(found.templates())


def engine_annotations(text):
    """The annotations of the only policy of a text, as the engine reads them."""
    policies = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    (policy,) = policies.values()
    return {name: value or "" for name, value in policy.get("annotations", {}).items()}


def only(text, **limits):
    (found,) = scan_statements(text, **limits)
    return found


def refused(text, **limits):
    with pytest.raises(CedarTextError) as caught:
        scan_statements(text, **limits)
    return caught.value.line, caught.value.message


# --- what comes out


def test_a_statement_carries_its_source_line_annotations_and_effect():
    text = '// head\n\n@id("a")\n@note\nforbid (principal, action, resource)\nwhen { "x;" == "}" }; // tail\n'
    assert scan_statements(text) == (
        Statement(
            text='@id("a")\n@note\nforbid (principal, action, resource)\nwhen { "x;" == "}" };',
            line=3,
            annotations={"id": "a", "note": ""},
            effect="forbid",
            is_template=False,
        ),
    )


@pytest.mark.parametrize("text", ["", " \n\t\r\n", "// only this", "//a\r//b\n", "\u00a0\u2028// permit(\n"])
def test_no_statement_is_no_fault(text):
    assert scan_statements(text) == ()
    assert engine_count(text) == 0


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"{PLAIN}{PLAIN}", [1, 1]),
        (f"\n{PLAIN}\n\n{PLAIN}", [2, 4]),
        (f"\r\n{PLAIN}\r\n{PLAIN}", [2, 3]),
        (f"//x\r{PLAIN}\r{PLAIN}", [2, 3]),
        (f'@a("x\ny") {PLAIN} {PLAIN}', [1, 2]),
        (f'// permit(\n// ; }} "\n@a\n// between\n{PLAIN}', [3]),
    ],
)
def test_lines_are_those_of_the_first_token(text, lines):
    assert [statement.line for statement in scan_statements(text)] == lines


@pytest.mark.parametrize(
    ("statement", "is_template"),
    [
        ("permit(principal == ?principal, action, resource);", True),
        ("permit(principal, action, resource in ?resource);", True),
        ("permit(principal in ?principal, action, resource is T in ?resource);", True),
        ('permit(principal, action, resource) when { "?principal" == "?resource" };', False),
        ("permit(principal, action, resource) // ?principal\n;", False),
        ('@a("?principal") permit(principal, action, resource);', False),
    ],
)
def test_a_template_is_told_by_its_slots(statement, is_template):
    assert only(statement).is_template is is_template
    assert len(cedarpy.PolicySet.from_str(statement).templates()) == int(is_template)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r"", ""),
        (r"plain", "plain"),
        (r"\"\\\'\n\r\t\0", "\"\\'\n\r\t\0"),
        (r"\x00\x41\x7f\x7F", "\0A\x7f\x7f"),
        (r"\u{41}\u{0041}\u{1F600}\u{4_1}\u{41_}\u{10FFFF}", "AA\U0001f600AA\U0010ffff"),
        ("two\nlines\tand ; // no comment", "two\nlines\tand ; // no comment"),
        ("ünï 日本 \ufeff\u2028", "ünï 日本 \ufeff\u2028"),
    ],
)
def test_annotation_values_are_unescaped_as_the_engine_does(written, value):
    text = f'@a("{written}") {PLAIN}'
    assert only(text).annotations == {"a": value}
    assert engine_annotations(text) == {"a": value}


@pytest.mark.parametrize(
    "written",
    [
        *(r"\q", r"\*", r"\x80", r"\xFF", r"\x4", r"\u41", r"\u{}", r"\u{_41}", r"\u{110000}", r"\u{D800}"),
        *(r"\u{0000041}", r"\u{4g}", r"\u{41", r"\ ", "a\rb", "a\r\nb"),
    ],
)
def test_annotation_values_that_the_engine_refuses_are_refused(written):
    text = f'\n@a("{written}") {PLAIN}'
    assert refused(text)[0] == 2
    assert engine_count(text) is None


@pytest.mark.parametrize("name", ["id", "if", "in", "permit", "forbid", "principal", "__cedar", "_", "a1", "true"])
def test_every_word_may_name_an_annotation(name):
    text = f'@ {name} // x\n ( "v" ) {PLAIN}'
    assert only(text).annotations == {name: "v"}
    assert engine_annotations(text) == {name: "v"}


def test_escapes_elsewhere_are_left_to_the_engine():
    """A pattern has the escape `\\*`, and the statement's text goes to the engine as it is."""
    text = r'permit(principal, action, resource) when { context.a like "a\*\"*" };'
    assert only(text).text == text
    assert engine_count(text) == 1


# --- what is refused


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("\ufeff" + PLAIN, 1, "unexpected byte order mark at the start: save the file as UTF-8 without one"),
        (f"{PLAIN}\n\0", 2, "unexpected NUL character: write `\\0` in a string, or remove it"),
        (f'{PLAIN}\n@a("\0"){PLAIN}', 2, "unexpected NUL character: write `\\0` in a string, or remove it"),
        (f"{PLAIN}\n//\udc80", 2, "lone surrogate `U+DC80`: save the file as valid UTF-8"),
        ("\nallow(principal);", 2, "unexpected `allow`: a policy begins with `permit`"),
        (f"{PLAIN}\n;", 2, "unexpected `;`: a policy begins with"),
        ("@id", 1, "unexpected the end of the text: a policy begins with"),
        ("@", 1, "expected the annotation's name after `@`, found the end of the text"),
        (f'@"id" {PLAIN}', 1, 'expected the annotation\'s name after `@`, found `"id"`'),
        (f'@a("1")\n@a("2") {PLAIN}', 2, "annotation `@a` stands twice: remove one"),
        (f"@a(b) {PLAIN}", 1, 'expected a string, as in `@a("value")`, found `b`'),
        (f'@a("b" {PLAIN}', 1, "expected `)` after the value of `@a`, found `permit`"),
        ("permit\n{", 2, "expected `(` after `permit`, found `{`"),
        ("permit", 1, "expected `(` after `permit`, found the end of the text"),
        (f"{PLAIN}\npermit(\nprincipal];", 3, "unexpected `]`: close the `(` of line 2 with `)`"),
        ("permit(principal, action, resource)\n);", 2, "unexpected `)`: no bracket is open here"),
        (f"\npermit(principal\n;{PLAIN}", 2, "`(` is never closed: add `)` before the policy's `;`"),
        (f"permit(a)\nwhen {{ [1,\n2 }};{PLAIN}", 3, "unexpected `}`: close the `[` of line 2 with `]`"),
        ("permit(a)\nwhen {\n", 2, "`{` is never closed: add `}` before the policy's `;`"),
        (f"permit(a)\n\n\n{PLAIN}", 1, "missing `;`: end the policy with one before the next policy"),
        (f"permit(a)\nwhen {{ true }}\n\n@a {PLAIN}", 2, "missing `;`: end the policy with one before the next annot"),
        (f"{PLAIN}\nforbid(a) // end\n\n", 2, "missing `;`: end the policy with one"),
        ('permit(a)\nwhen { "abc };\n\n', 2, 'unterminated string: add the closing `"`'),
        ('permit(a) when {\n"ab\\\nc" };', 2, "a line may not end in a backslash inside a string"),
        ("\npermit(a) when { 'x' };", 2, "unexpected character `'`: strings are written with `\"`"),
        (f"# comment\n{PLAIN}", 1, "unexpected character `#`: comments begin with `//`"),
        (f"{PLAIN} \x1c", 1, "unexpected character `\\x1c`"),
        (f"é{PLAIN}", 1, "unexpected character `é`"),
        ("permit(a == ?);", 1, "unexpected character `?`"),
    ],
)
def test_refusals_say_line_and_remedy(text, line, said):
    found_line, message = refused(text)
    assert (found_line, said in message) == (line, True), message
    assert str(line) in str(CedarTextError(line, message))


def test_everything_refused_there_is_refused_by_the_engine_too():
    """But NUL in a string and in a comment, which nobody means."""
    table = test_refusals_say_line_and_remedy.pytestmark[0].args[1]
    for text, _, _ in table:
        if "\0" not in text and "\udc80" not in text:
            assert engine_count(text) is None, text


def test_a_long_token_is_shortened_in_a_message():
    _, message = refused("a" * 1000)
    assert "`" + "a" * 37 + "...`" in message
    assert len(message) < 200


# --- limits


def test_a_statement_has_at_most_so_many_bytes_of_utf8():
    text = f'\n@a("{"é" * 10}") {PLAIN}'
    size = len(text.strip().encode())
    assert only(text, max_statement_bytes=size).line == 2
    line, message = refused(text, max_statement_bytes=size - 1)
    assert (line, message) == (2, f"policy of {size} bytes, at most {size - 1} are allowed: split it")


def test_verified_permissions_quota_is_the_default():
    head = "permit(principal, action, resource)"
    assert only(f"{head}{' ' * (10_000 - len(head) - 1)};")
    assert refused(f"{head}{' ' * (10_000 - len(head))};")[0] == 1


def test_comments_between_statements_count_for_none():
    text = f"{PLAIN}//{'x' * 200}\n{PLAIN}"
    assert len(scan_statements(text, max_statement_bytes=len(PLAIN))) == 2


def test_a_text_has_at_most_so_many_statements():
    assert len(scan_statements(f"{PLAIN}\n" * 3, max_statements=3)) == 3
    assert refused(f"{PLAIN}\n" * 4, max_statements=3) == (
        4,
        "more than 3 statements in one text: split it into several files",
    )


def test_nesting_is_refused_where_it_passes_the_limit():
    text = f"{PLAIN}\npermit(principal, action, resource)\nwhen {{\n{'(' * 60}true{')' * 60} }};"
    line, message = refused(text)
    assert (line, message) == (4, "more than 50 nested brackets and `if`s: split the policy into simpler ones")


def test_a_hostile_text_is_refused_quickly_whatever_its_size():
    for opening in "([{":
        assert refused(f"permit(a) when {{ {opening * 1_000_000}")[0] == 1
    assert refused('permit(a) when { "' + 'a\\"' * 1_000_000)[0] == 1
    assert refused("@a " * 100_000)[0] == 1


# --- any text


SPACES = st.sampled_from(
    ["", " ", "\n", "\r\n", "\t", "\r", " // c\n", '//"\n', "// ; permit( } @x\r\n", "\u2003", "//?principal\n\n"]
)
SEPARATORS = SPACES.map(lambda space: space or " ")
STRINGS = st.sampled_from(
    ['""', '"a"', r'"\"; }"', '"// no"', '"\n"', r'"\\"', '"?principal"', '"permit("', r'"\u{7d}"']
)
EXPRESSIONS = st.recursive(
    st.sampled_from(["true", "context.a", "1", "principal", 'User::"a;b"', "context has a.b"]) | STRINGS,
    lambda inner: st.one_of(
        inner.map(lambda e: f"({e})"),
        st.tuples(inner, st.sampled_from(["==", "&&", "||", "+", "in"]), inner).map(lambda p: f"({p[0]}{p[1]} {p[2]})"),
        st.lists(inner, max_size=3).map(lambda es: f"[{','.join(es)}]"),
        st.tuples(inner, inner).map(lambda p: f'{{"k;": {p[0]}, b: {p[1]}}}'),
        st.tuples(inner, inner, inner).map(lambda p: f"(if {p[0]} then {p[1]} else {p[2]})"),
    ),
    max_leaves=6,
)


@st.composite
def statements(draw):
    """A statement that the engine takes, its pieces parted by any white space and comments."""
    names = draw(st.lists(st.sampled_from(["id", "note", "if", "permit"]), unique=True, max_size=3))
    pieces = [piece for name in names for piece in ("@", name, *draw(st.sampled_from([(), ("(", '"v;"', ")")])))]
    principal = draw(st.sampled_from(["principal", 'principal == U::"}"', "principal in ?principal", "principal is T"]))
    resource = draw(st.sampled_from(["resource", 'resource in D::"\\""', "resource == ?resource"]))
    action = draw(st.sampled_from(["action", 'action in [Action::"a", Action::"b"]']))
    pieces += [draw(st.sampled_from(["permit", "forbid"])), "(", principal, ",", action, ",", resource, ")"]
    for expression in draw(st.lists(EXPRESSIONS, max_size=3)):
        pieces += [draw(st.sampled_from(["when", "unless"])), "{", expression, "}"]
    return "".join(piece + draw(SEPARATORS) for piece in pieces) + ";"


def line_after(text):
    return 1 + len(re.findall(r"\r\n|\r|\n", text))


@given(parts=st.lists(st.tuples(SPACES, statements()), max_size=4), tail=SPACES)
def test_any_concatenation_scans_back_to_its_statements(parts, tail):
    text, lines = "", []
    for space, statement in parts:
        text += space
        lines.append(line_after(text))
        text += statement
    text += tail
    found = scan_statements(text)
    assert [(one.text, one.line) for one in found] == [
        (statement, line) for (_, statement), line in zip(parts, lines, strict=True)
    ]
    assert engine_count(text) in (None, len(parts))  # None: an expression that only the engine can refuse


@given(statement=statements())
def test_a_statement_alone_is_one_policy_and_its_own_scan(statement):
    found = only(statement)
    assert only(found.text) == found
    count = engine_count(found.text)
    assert count in (None, 1)
    if count and not found.is_template:
        assert engine_annotations(found.text) == found.annotations


TOKENS = st.sampled_from(
    [
        *"()[]{}@;,.:\"'\\/%?#&|!-",
        *("permit", "forbid", "when", "principal", "action", "resource", "if", "then", "else", "in", "has"),
        *("::", "==", "&&", "//", "\n", "\r", " ", '"x"', "?principal", "?other", "1", "\\u{41}"),
        *(PLAIN, PLAIN[:-1], "when { true }", '@id("a")', "\ufeff", "\x00", "é", "\x1c", "\x85"),
    ]
)


def refusal(text):
    """The error of a text that is refused; None for any other."""
    try:
        scan_statements(text)
    except CedarTextError as error:
        return error
    return None


@given(text=st.lists(TOKENS, max_size=25).map("".join) | st.text(max_size=40))
def test_any_text_is_refused_or_cut_into_what_the_engine_takes_for_one_policy_each(text):
    unencodable = "\0" in text or re.search("[\ud800-\udfff]", text)
    count = None if unencodable else engine_count(text)
    if error := refusal(text):
        assert count is None
        assert 1 <= error.line <= line_after(text)
        return
    found = scan_statements(text)
    assert count in (None, len(found))
    for statement in found:
        assert engine_count(statement.text) in (None, 1)
    if count is not None:
        assert engine_count("\n".join(statement.text for statement in found)) == count


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ("permit(principal, action, resource) when {\n((((true)))) };", 4, "more than 4 nested brackets"),
        ("permit(principal,\naction, resource)", 4, "missing `;`"),
        ("permit(principal,\naction, resource];", 4, "unexpected `]`"),
        ('permit(principal, action, resource) when {\n"x };', 4, "unterminated string"),
        (PLAIN.replace(";", " when { " + "true && " * 9 + "true };"), 3, "more than 8 operators in one expression"),
        (PLAIN.replace(";", " " * 200 + ";"), 3, "policy of "),
    ],
)
def test_a_refusal_names_the_policy_where_it_has_a_name(body, line, said):
    limits = {"max_depth": 4, "max_chain": 8, "max_statement_bytes": 200}
    found_line, message = refused(f'// one\n\n@id("a\\nb") {body}', **limits)
    assert (found_line, message.startswith(rf"policy `a\nb`: {said}")) == (line, True), message
    assert "policy `" not in refused(body, **limits)[1]


# --- characters

# White space and line ends of every standard, what turns the direction of text, joins, combines, or looks like syntax.
ODD = (
    "\t\n\r\x0b\x0c\x1c\x1f \x7f\x80\x85\x9b\xa0\xad\u0300\u034f\u061c\u1680\u180e\u200b\u200d\u200e\u2028\u2029\u202e\u202f"
    "\u205f\u2060\u2066\u2069\u3000\u3164\ud7ff\ue000\ufe0f\ufeff\uff02\uff1b\ufffe\uffff\U0001f600\U000e0001\U0010ffff"
)
ANY = st.text(
    st.one_of(st.sampled_from(ODD), st.sampled_from('"\\/;{}()@?*a'), st.characters(codec="utf-8")), max_size=8
)
COMMENTS = ANY.map(lambda text: "//" + re.sub("[\r\n\0]", " ", text) + "\n")
SPACES = st.text(st.sampled_from("\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"), max_size=3)
GAPS = st.lists(st.one_of(SPACES, COMMENTS), max_size=3).map("".join)


def written(value):
    """A value as a Cedar string literal; only what must be escaped is."""
    return '"' + "".join(WRITTEN.get(c, c) for c in value) + '"'


WRITTEN = {"\\": "\\\\", '"': '\\"', "\0": "\\0", "\r": "\\r"}


@st.composite
def odd_statements(draw):
    effect = draw(st.sampled_from(["permit", "forbid"]))
    id, value = draw(ANY), draw(ANY)
    parts = ["@", "id", "(", written(id), ")", effect, "(", "principal", ",", "action", ",", "resource", ")"]
    parts += ["when", "{", written(value), "==", "context", "[", written(draw(ANY)), "]", "}", ";"]
    text = parts[0] + "".join(draw(GAPS) + part for part in parts[1:])
    return text + draw(GAPS), effect, id


@given(st.lists(odd_statements(), min_size=1, max_size=4), GAPS)
def test_odd_characters_in_ids_strings_and_comments_change_nothing(statements, head):
    text = head + "".join(source for source, _, _ in statements)
    found = scan_statements(text)
    assert [(one.effect, one.annotations["id"]) for one in found] == [(effect, id) for _, effect, id in statements]
    assert engine_policies(text) == [(effect, id) for _, effect, id in statements]
    for one in found:
        assert engine_policies(one.text) == [(one.effect, one.annotations["id"])]
        assert "@" in re.split("\r\n|\r|\n", text)[one.line - 1]


def engine_policies(text):
    """Effect and id of each policy, in order, as the engine reads them."""
    policies = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    ordered = [policies[f"policy{position}"] for position in range(len(policies))]
    return [(one["effect"], one["annotations"]["id"] or "") for one in ordered]


@given(
    st.text(
        st.one_of(st.sampled_from('permitforbid(),;{}"\\/@?[]'), st.sampled_from(ODD), st.characters()), max_size=60
    )
)
def test_whatever_is_cut_the_engine_cuts_the_same(text):
    """Any text at all: it is refused here, or the engine refuses it, or both find as many policies."""
    try:
        found = scan_statements(text)
    except CedarTextError as error:
        assert 1 <= error.line <= 1 + text.count("\n") + text.count("\r")
        return
    assert engine_count(text) in {None, len(found)}
