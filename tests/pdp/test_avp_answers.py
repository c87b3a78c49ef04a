"""An answer is read as promised, or not at all."""

import pytest

from authz.core.errors import DecisionUnavailable, Reason
from authz.core.model import Credential, Effect, EntityUid, Query, Verdict
from authz.pdp.avp_answers import Reading, batch, single
from authz.pdp.avp_questions import Questions
from authz.pdp.avp_settings import AvpDecisionSettings

ANN, READ = EntityUid("User", "ann"), EntityUid("Action", "read")
ALLOW = {"decision": "ALLOW", "determiningPolicies": [{"policyId": "b"}, {"policyId": "a"}], "errors": []}
DENY = {"decision": "DENY", "determiningPolicies": [], "errors": []}
ERRED = {"errors": [{"errorDescription": "canary"}]}


def reading(on_forbid_error="skip"):
    return Reading(
        on_forbid_error=on_forbid_error,
        version=lambda: "v1",
        age=lambda: 2.0,
        names=lambda ids: ids,
        messages=lambda ids: tuple(f"not {id}" for id in ids),
    )


def question(number=1, **changes):
    questions = Questions(AvpDecisionSettings(policy_store="ps", forward_token=True), None)
    return questions.of(Query(principal=ANN, action=READ, resource=EntityUid("Doc", str(number)), **changes))


def echo(number=1):
    return {
        "principal": {"entityType": "User", "entityId": "ann"},
        "action": {"actionType": "Action", "actionId": "read"},
        "resource": {"entityType": "Doc", "entityId": str(number)},
    }


def test_an_allow_and_a_deny():
    found = single(ALLOW, question(), reading())
    assert (found.verdict, found.policies, found.names) == (Verdict.ALLOW, ("a", "b"), ("a", "b"))
    assert (found.decision_point, found.version, found.age) == ("verified_permissions", "v1", 2.0)
    assert single(DENY, question(), reading()).verdict is Verdict.DENY
    forbidden = single({**DENY, "determiningPolicies": [{"policyId": "f"}]}, question(), reading())
    assert (forbidden.verdict, forbidden.policies) == (Verdict.DENY, ("f",))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**ALLOW, "decision": None},
        {**ALLOW, "decision": "Allow"},
        {**ALLOW, "decision": "allow"},
        {**ALLOW, "decision": "PERMIT"},
        {**ALLOW, "decision": ""},
        {**ALLOW, "decision": True},
        {**ALLOW, "decision": ["ALLOW"]},
        {**ALLOW, "determiningPolicies": []},
        {**ALLOW, "determiningPolicies": None},
        {**ALLOW, "determiningPolicies": ["a"]},
        {**ALLOW, "determiningPolicies": [{"policyId": 1}]},
        {**ALLOW, "determiningPolicies": {"policyId": "a"}},
        {**ALLOW, "errors": None},
        {**ALLOW, "errors": ["canary"]},
        {**DENY, "errors": [{}]},
        {"decision": "ALLOW"},
        {"message": "<html>canary</html>"},
    ],
)
def test_all_else_is_a_failure(answer):
    with pytest.raises(DecisionUnavailable) as caught:
        single(answer, question(), reading())
    assert caught.value.reason is Reason.DECISION_UNAVAILABLE
    assert "canary" not in caught.value.detail


def test_an_error_is_told_and_counts_as_a_forbids():
    found = single({**ALLOW, **ERRED}, question(), reading())
    assert found.verdict is Verdict.ALLOW
    assert [(error.policy_id, error.effect) for error in found.errors] == [("", Effect.FORBID)]
    assert "canary" not in repr(found)
    with pytest.raises(DecisionUnavailable) as caught:
        single({**ALLOW, **ERRED}, question(), reading("fail"))
    assert caught.value.reason is Reason.FORBID_ERROR
    assert "canary" not in caught.value.detail
    assert single({**DENY, **ERRED}, question(), reading("fail")).verdict is Verdict.DENY


TOKEN = Credential(kind="access", secret="canary")


def test_with_a_token_the_principal_has_to_be_ours():
    asked = question(credential=TOKEN)
    same = {**ALLOW, "principal": {"entityType": "User", "entityId": "ann"}}
    assert single(same, asked, reading()).verdict is Verdict.ALLOW
    assert single(ALLOW, asked, reading()).verdict is Verdict.ALLOW
    for other in ({"entityType": "User", "entityId": "p|ann"}, {"entityType": "AWS::Cognito", "entityId": "ann"}):
        with pytest.raises(DecisionUnavailable) as caught:
            single({**ALLOW, "principal": other}, asked, reading())
        assert caught.value.reason is Reason.DECISION_MISCONFIGURED
        assert "identity source" in caught.value.detail
    with pytest.raises(DecisionUnavailable) as caught:
        single({**ALLOW, "principal": {"entityType": "User"}}, asked, reading())
    assert caught.value.reason is Reason.DECISION_UNAVAILABLE


def test_a_batch_answers_in_order():
    results = [{"request": echo(1), **ALLOW}, {"request": echo(2), **DENY}]
    found = batch({"results": results}, [question(1), question(2)], reading())
    assert [one.verdict for one in found] == [Verdict.ALLOW, Verdict.DENY]


@pytest.mark.parametrize(
    "results",
    [
        None,
        [],
        [{"request": echo(1), **ALLOW}],
        [{"request": echo(1), **ALLOW}] * 3,
        [{"request": echo(2), **ALLOW}, {"request": echo(1), **ALLOW}],
        [{"request": echo(1), **ALLOW}, ALLOW],
        [{"request": echo(1), **ALLOW}, None],
        [{"request": echo(1), **ALLOW}, {"request": "x", **ALLOW}],
        [{"request": echo(1), **ALLOW}, {"request": echo(2)}],
        [{"request": {**echo(1), "principal": {"entityType": "User", "entityId": "bob"}}, **ALLOW}] * 2,
        {"0": {"request": echo(1), **ALLOW}},
    ],
)
def test_a_batch_answers_each_question_or_none(results):
    with pytest.raises(DecisionUnavailable):
        batch({"results": results}, [question(1), question(2)], reading())


def test_a_batch_with_a_token_echoes_no_principal():
    asked = [question(number, credential=TOKEN) for number in (1, 2)]
    results = [{"request": {k: v for k, v in echo(n).items() if k != "principal"}, **ALLOW} for n in (1, 2)]
    answer = {"principal": {"entityType": "User", "entityId": "ann"}, "results": results}
    assert len(batch(answer, asked, reading())) == 2
    with pytest.raises(DecisionUnavailable):
        batch({**answer, "principal": {"entityType": "User", "entityId": "bob"}}, asked, reading())
