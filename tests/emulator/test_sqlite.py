"""State in a file: what survives a restart, and which files are refused."""

import sqlite3

import pytest

from authz.emulator.clock import Clock
from authz.emulator.state import State
from authz.emulator.state_file import APPLICATION, VERSION, UnusableState
from tests.emulator.refusals import refused
from tests.emulator.running import emulator_thread

PERMIT = "permit(principal, action, resource);"
UID = {"entityType": "U", "entityId": "a"}


def test_everything_survives_a_restart(tmp_path):
    file = tmp_path / "avp.db"
    token = "once"
    with emulator_thread(state=file) as running:
        client = running.client()
        store = running.store(schema={"N": {"entityTypes": {}, "actions": {}}}, policies=[PERMIT] * 3, description="d")
        client.create_policy_store_alias(aliasName="policy-store-alias/a", policyStoreId=store)
        client.create_policy_template(
            policyStoreId=store, statement="permit(principal == ?principal, action, resource);", name="name/t"
        )
        linked = {"policyTemplateId": "name/t", "principal": UID}
        client.create_policy(policyStoreId=store, definition={"templateLinked": linked}, clientToken=token)
        pool = {"userPoolArn": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_EXAMPLE"}
        client.create_identity_source(policyStoreId=store, configuration={"cognitoUserPoolConfiguration": pool})
        before = everything(client)
        page = client.list_policies(policyStoreId=store, maxResults=2)["nextToken"]
    with emulator_thread(state=file) as running:
        client = running.client()
        assert everything(client) == before
        assert len(client.list_policies(policyStoreId=store, nextToken=page)["policies"]) == 2
        client.create_policy(policyStoreId=store, definition={"templateLinked": linked}, clientToken=token)
        assert everything(client) == before
        asked = {"principal": UID, "action": {"actionType": "Action", "actionId": "a"}, "resource": UID}
        assert client.is_authorized(policyStoreId="policy-store-alias/a", **asked)["decision"] == "ALLOW"
        client.delete_policy(policyStoreId=store, policyId=before["policies"][0]["policyId"])
    with emulator_thread(state=file) as running:
        assert len(running.client().list_policies(policyStoreId=store)["policies"]) == 3


def everything(client):
    store = "policy-store-alias/a"
    answers = [
        client.get_policy_store(policyStoreId=store),
        client.get_schema(policyStoreId=store),
        client.list_policies(policyStoreId=store),
        client.list_policy_templates(policyStoreId=store),
        client.list_identity_sources(policyStoreId=store),
        client.list_policy_store_aliases(),
    ]
    return {name: value for answer in answers for name, value in answer.items() if name != "ResponseMetadata"}


def test_a_deletion_is_not_told_twice(tmp_path):
    """A page token, an id and a tombstone of a process that has ended are of no use to the next."""
    file = tmp_path / "avp.db"
    with emulator_thread(state=file) as running:
        store = running.store(policies=[PERMIT])
        policy = running.client().list_policies(policyStoreId=store)["policies"][0]["policyId"]
        running.client().delete_policy(policyStoreId=store, policyId=policy)
    state = State(file, Clock())
    assert state.changes(store, 1).deleted == ()
    state.close()


def other_program(file):
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()


def newer_version(file):
    State(file, Clock()).close()
    with sqlite3.connect(file) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()


def foreign_application(file):
    with sqlite3.connect(file) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION + 1}")
        database.execute("CREATE TABLE mine (x)")
    database.close()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (other_program, "is another program's database"),
        (foreign_application, "is another program's database"),
        (newer_version, "was written by a newer version"),
        (lambda file: file.write_bytes(b"notes\n" * 1000), "is no SQLite database"),
        (lambda file: file.mkdir(), "cannot be opened"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path, prepare, message):
    file = tmp_path / "avp.db"
    prepare(file)
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(UnusableState, match=message):
        State(file, Clock())
    assert (file.read_bytes() if file.is_file() else None) == before


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UnusableState, match="the folder must exist"):
        State(tmp_path / "none" / "avp.db", Clock())


def test_one_file_is_for_one_emulator(tmp_path):
    file = tmp_path / "avp.db"
    first = State(file, Clock())
    with pytest.raises(UnusableState, match="is another emulator running on it"):
        State(file, Clock())
    first.close()
    State(file, Clock()).close()


def test_an_empty_file_becomes_ours(tmp_path):
    file = tmp_path / "avp.db"
    file.touch()
    State(file, Clock()).close()
    State(file, Clock()).close()


def test_an_error_while_writing_leaves_the_old_state():
    with emulator_thread() as running:
        store = running.store(policies=[PERMIT])
        running.state._connection.execute("PRAGMA query_only = ON")
        answer = refused(
            running.client().create_policy, policyStoreId=store, definition={"static": {"statement": PERMIT}}
        )
        assert (answer.code, answer.status) == ("InternalServerException", 500)
        running.state._connection.execute("PRAGMA query_only = OFF")
        assert len(running.client().list_policies(policyStoreId=store)["policies"]) == 1
        running.client().create_policy(policyStoreId=store, definition={"static": {"statement": PERMIT}})
