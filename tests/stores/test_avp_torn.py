"""A listing of several pages is not of one moment: what is allowed by it must have been allowed at some moment."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores.avp_fake import PERMIT, FakeAvp, replica

FORBID = "forbid(principal, action, resource);"
TEMPLATE = "forbid(principal == ?principal, action, resource);"


@pytest.fixture
def avp():
    """Two pages of permits; the first id sorts before all, the last behind all."""
    fake = FakeAvp()
    fake.page = 2
    for number in range(4):
        fake.static(id=f"M{number}")
    return fake


def after_first_page(avp, edit):
    """Lets somebody edit the store between the first and the second page of the next listing."""
    begun = avp.calls["ListPolicies"]

    def before(operation, number):
        if operation == "ListPolicies" and number == begun + 1:
            edit()

    avp.before = before


def forbids(store):
    return [policy.id for policy in store.read().policies if policy.text == FORBID]


def test_a_forbid_that_is_replaced_while_it_is_listed_leaves_no_gap(avp):
    avp.static(FORBID, id="Z-old")
    store = replica(avp.client)
    store.read()

    def replaced():
        avp.static(FORBID, id="A-new")  # on the page that was read already
        del avp.store.policies["Z-old"]  # before its own page is read

    after_first_page(avp, replaced)
    store.poll()
    assert forbids(store) == ["Z-old"]  # neither was listed
    assert store.next_poll() < 3
    store.poll()
    assert forbids(store) == ["A-new"]


def test_links_of_a_forbidding_template_linger_with_it(avp):
    template = avp.template(TEMPLATE)
    link = avp.link(template)
    store = replica(avp.client)
    store.read()
    avp.delete_template(template)
    store.poll()
    assert ([one.id for one in store.read().links], [one.id for one in store.read().templates]) == ([link], [template])
    store.poll()
    assert (store.read().links, store.read().templates) == ((), ())


def test_a_forbid_that_is_deleted_counts_for_one_look_more_and_a_permit_does_not(avp):
    avp.static(FORBID, id="Z-old")
    store = replica(avp.client)
    store.read()
    del avp.store.policies["Z-old"]
    del avp.store.policies["M1"]
    store.poll()
    assert [policy.id for policy in store.read().policies] == ["M0", "M2", "M3", "Z-old"]
    store.poll()
    assert [policy.id for policy in store.read().policies] == ["M0", "M2", "M3"]


def test_a_failed_look_between_changes_nothing(avp):
    avp.static(FORBID, id="Z-old")
    store = replica(avp.client)
    store.read()
    del avp.store.policies["Z-old"]
    store.poll()
    avp.answers = lambda _operation, _answer: {}
    with pytest.raises(Exception, match="no usable answer"):
        store.poll()
    assert forbids(store) == ["Z-old"]
    avp.answers = lambda _operation, answer: answer
    store.poll()
    assert forbids(store) == []


def test_one_page_is_of_one_moment(avp):
    avp.page = 50
    avp.static(FORBID, id="Z-old")
    store = replica(avp.client)
    store.read()
    del avp.store.policies["Z-old"]
    store.poll()
    assert forbids(store) == []


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text("AMZ", min_size=1, max_size=2), st.integers(0, 3)), min_size=1, max_size=12))
def test_while_forbids_are_replaced_one_is_always_there(replacements):
    """Each makes a forbid somewhere in the listing and then deletes the one before, at some page of a look."""
    avp = FakeAvp()
    avp.page = 1
    for number in range(3):
        avp.static(PERMIT, id=f"M{number}")
    current = avp.static(FORBID, id="N")
    store = replica(avp.client)
    store.read()
    for number, (place, page) in enumerate(replacements):
        begun = avp.calls["ListPolicies"]

        def before(operation, call, *, begun=begun, page=page, id=f"{place}-{number}"):
            nonlocal current
            if operation == "ListPolicies" and call == begun + page and id not in avp.store.policies:
                avp.static(FORBID, id=id)
                del avp.store.policies[current]
                current = id

        avp.before = before
        store.poll()
        assert forbids(store) != []
        store.poll()  # the one that follows at once
        assert current in forbids(store)
        store.poll()
        assert forbids(store) == [current]
