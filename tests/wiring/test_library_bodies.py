"""Bodies in the process: the application has the whole of one, or says that there is none."""

from __future__ import annotations

import pytest

import authz

JSON = {"content-type": "application/json"}
NEEDLESS = "  context: {ip: {from: source.address, type: ip}}\n"


@pytest.fixture
def reads(app):
    """The sample, whose resource the body names."""
    app.edit("routes.yaml", NEEDLESS, "  body: {max_bytes: 40}\n")
    app.edit("routes.yaml", "methods: [GET]", "methods: [POST]")
    app.edit("routes.yaml", '"{path.id}"', '"{body.doc.id}"')
    return app


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b'{"doc": {"id": "7"}}', JSON, "allowed"),
        (b'{"doc": {"id": 7}}', JSON | {"content-length": "18"}, "allowed"),
        (b'{"doc": {"id": 7}}', JSON | {"content-length": "17"}, "bad_body"),
        (b'{"doc": {"id": 7}}', {}, "bad_body"),
        (b'{"doc": {"id": [7]}}', JSON, "bad_parameter"),
        (b'{"doc": 1, "doc": {"id": 7}}', JSON, "bad_body"),
        (b'{"doc": {"id": "7"}}' + b" " * 40, JSON, "too_large"),
        (None, JSON, "bad_parameter"),
        (b"", JSON, "bad_parameter"),
        (None, JSON | {"content-length": "5"}, "bad_body"),
        (None, JSON | {"transfer-encoding": "chunked"}, "bad_body"),
    ],
)
async def test_a_body_is_read_if_it_is_the_whole_one(reads, body, headers, reason):
    async with authz.connect(reads.config, watch=False) as az:
        fields = {**headers, **reads.headers(groups=["staff"])}
        request = authz.HttpRequest(method="POST", url="https://docs.example/d/1", headers=fields, body=body)
        assert (await az.check(request)).reason.value == reason
        assert '"doc"' not in repr(request)


async def test_a_bad_credential_comes_before_a_bad_body(reads):
    async with authz.connect(reads.config, watch=False) as az:
        request = authz.HttpRequest(method="POST", url="https://docs.example/d/1", headers=JSON, body=b"{")
        assert (await az.check(request)).reason.value == "no_credentials"
