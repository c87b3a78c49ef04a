"""Files of pulled policies: no two, and none of the folder's, that a file system takes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.avp_names import key_of, path_of
from authz.devtools.avp.places import Places, taken_in

NAMES = st.text("aAbB/_kK", min_size=1, max_size=6)


@given(st.lists(st.tuples(NAMES, st.booleans()), unique=True, max_size=30))
def test_no_two_names_come_to_one_file_on_any_file_system_and_each_is_read_back(names):
    places = Places(())
    chosen = [(places.choose(path_of(name, template=template)), name, template) for name, template in names]
    everything: dict[str, str] = {}
    for path, name, template in chosen:
        assert path is not None
        assert key_of(path, template=template) == name
        assert path.endswith(".cedar")
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            part = "/".join(parts[:count])
            assert everything.setdefault(part.casefold(), part) == part
    assert len({path for path, _, _ in chosen}) == len(names)


@pytest.mark.parametrize(
    ("taken", "path", "expected"),
    [
        ((), "Admin.cedar", "Admin.cedar"),
        (("Admin.cedar",), "Admin.cedar", "Admin.cedar"),
        (("admin.cedar",), "Admin.cedar", "%41dmin.cedar"),
        (("ADMIN.CEDAR",), "admin.cedar", "%61dmin.cedar"),
        (("admin.cedar", "%41DMIN.cedar"), "Admin.cedar", "%41%64min.cedar"),
        (("team",), "Team/x.cedar", "%54eam/x.cedar"),
        (("team", "team/X.cedar"), "team/x.cedar", "team/%78.cedar"),
        (("a%2E1.cedar",), "A%2E1.cedar", "%41%2E1.cedar"),
        (("\N{KELVIN SIGN}.cedar",), "k.cedar", "%6B.cedar"),
        (("templates",), "templates/t.cedar", "templates/t.cedar"),
        (("Templates",), "templates/t.cedar", None),
        ((), "Templates/t.cedar", "%54emplates/t.cedar"),
    ],
)
def test_what_is_taken_in_other_letters_is_spelled_differently(taken, path, expected):
    assert Places(taken).choose(path) == expected


def test_all_of_a_folder_is_taken_and_a_folder_that_is_none_has_nothing(tmp_path):
    (tmp_path / "a" / "empty").mkdir(parents=True)
    (tmp_path / "a" / "x.txt").touch()
    (tmp_path / "b.cedar").touch()
    assert sorted(taken_in(tmp_path)) == ["a", "a/empty", "a/x.txt", "b.cedar"]
    assert list(taken_in(tmp_path / "nowhere")) == []
