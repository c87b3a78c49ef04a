"""Names in a store, ids and files in a folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.avp_names import STAND_IN, NameFault, is_legal, key_of, name_of, path_of

LEGAL = st.text("abzAZ019-_/", min_size=1, max_size=145)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("share-document", "share-document"),
        ("documents.cedar#1", "documents"),
        ("documents.cedar#12", "documents/12"),
        ("team/documents.cedar#3", "team/documents/3"),
        ("team.read all", "team-read-all"),
        ("a.cedar#0", "a-cedar-0"),
        ("größe", "gr_f6__df_e"),
        ("templates/share.cedar#1", "templates/share"),
    ],
)
def test_an_id_comes_to_a_name(id, name):
    assert name_of(id) == name


def test_the_folder_of_templates_is_no_part_of_their_names():
    assert name_of("templates/share.cedar#1", template=True) == "share"
    assert name_of("templates/share.cedar#2", template=True) == "share/2"


@given(LEGAL)
def test_a_name_becomes_itself_also_from_the_file_it_was_pulled_into(name):
    if name.startswith(STAND_IN):
        return
    assert is_legal(name)
    assert name_of(name) == name
    for template in (False, True):
        assert key_of(path_of(name, template=template), template=template) == name


@given(ANYTHING)
def test_whatever_the_id_a_name_is_one_that_the_service_takes(id):
    try:
        name = name_of(id)
    except NameFault as fault:
        assert "@id" in str(fault)
    else:
        assert is_legal(name)


@pytest.mark.parametrize("id", ["a" * 146, "ß" * 40, "x/" * 70 + "documents.cedar#1", f"{STAND_IN}x"])
def test_what_can_be_no_name_is_refused_with_what_to_do(id):
    with pytest.raises(NameFault, match="give it an `@id"):
        name_of(id)


def test_the_longest_name_has_150_characters_with_its_prefix():
    assert len(name_of("a" * 145)) == 145


@given(ANYTHING, ANYTHING, st.booleans())
def test_no_name_leads_out_of_the_folder_and_no_two_to_one_file(one, other, template):
    paths = [path_of(name, template=template) for name in (one, other)]
    for name, path in zip((one, other), paths, strict=True):
        assert key_of(path, template=template) == name
        assert path.endswith(".cedar")
        assert not path.startswith("/")
        assert "\\" not in path
        for part in path.split("/"):
            assert part
            assert not part.startswith(".")
            assert part.isascii()
    assert (paths[0] == paths[1]) == (one == other)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", ".", "a/../b", "..data/x", "a\0b", "C:\\x"])
def test_names_that_look_like_paths_stay_names(name):
    path = path_of(name)
    assert ".." not in path
    assert not path.startswith(("/", "."))
    assert key_of(path) == name


@given(LEGAL)
def test_a_policy_and_a_template_never_share_a_file(name):
    assert path_of(name) != path_of(name, template=True)
    assert not path_of(f"templates/{name}").startswith("templates/")
