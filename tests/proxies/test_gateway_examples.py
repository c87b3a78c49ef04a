"""The examples for gateways in Kubernetes: they name fields that there are, ask a door that there is, and fail closed.

No gateway is started here: they need a cluster. What reaches authz is Envoy's wire, which the other tests of this
folder hold with the real program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from authz.config.shape import ConfigShape
from authz.servers.dialects import ENVOY_PREFIX, Dialect, dialect_of
from tests.proxies.harness import EXAMPLES

FILES = ("envoy-gateway.yaml", "contour.yaml", "gateway-api.yaml")
DEADLINE = 1.0
"""authz's own, in seconds."""
# What authz reads of a question over HTTP, beside what Envoy always sends.
READ_OVER_HTTP = {"x-request-id", "x-forwarded-for", "x-forwarded-proto", "accept", "content-type"}

REFERENCE = {"group", "kind", "name", "namespace", "port"}
MATCHERS = {"exact", "prefix"}
# Kind → the fields that its schema has and the examples may use; a set holds names of plain values.
FIELDS: dict[tuple[str, str], Any] = {
    ("gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy"): {
        "targetRefs": {"group", "kind", "name", "sectionName"},
        "path": {"escapedSlashesAction", "disableMergeSlashes"},
        "headers": {"withUnderscoresAction": None, "earlyRequestHeaders": {"remove": None, "removeOnMatch": {"type", "value"}}},
        "clientIPDetection": {"xForwardedFor": {"numTrustedHops", "trustedCIDRs"}},
    },
    ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"): {
        "targetRefs": {"group", "kind", "name", "sectionName"},
        "extAuth": {
            "failOpen": None, "statusOnError": None, "timeout": None, "headersToExtAuth": None, "recomputeRoute": None,
            "bodyToExtAuth": {"maxRequestBytes"}, "contextExtensions": {"name", "type", "value"},
            "grpc": {"backendRefs": REFERENCE},
            "http": {"backendRefs": REFERENCE, "path": None, "headersToBackend": None},
        },
    },
    ("gateway.envoyproxy.io/v1alpha1", "Backend"): {
        "endpoints": {"fqdn": {"hostname", "port"}, "unix": {"path"}},
        "tls": {"sni": None, "caCertificateRefs": {"group", "kind", "name"}, "clientCertificateRef": REFERENCE},
    },
    ("gateway.networking.k8s.io/v1", "BackendTLSPolicy"): {
        "targetRefs": {"group", "kind", "name", "sectionName"},
        "validation": {"hostname": None, "caCertificateRefs": {"group", "kind", "name"}},
    },
    ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant"): {
        "from": {"group", "kind", "namespace"},
        "to": {"group", "kind", "name"},
    },
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {
        "parentRefs": REFERENCE, "hostnames": None,
        "rules": {
            "matches": {"path": {"type", "value"}}, "backendRefs": REFERENCE,
            "filters": {
                "type": None,
                "externalAuth": {
                    "protocol": None, "backendRef": REFERENCE, "forwardBody": {"maxSize"}, "grpc": {"allowedHeaders"},
                    "http": {"path", "allowedHeaders", "allowedResponseHeaders"},
                },
            },
        },
    },
    ("projectcontour.io/v1alpha1", "ExtensionService"): {
        "protocol": None, "services": {"name", "port", "weight"}, "validation": {"caSecret", "subjectName"},
        "timeoutPolicy": {"response"},
    },
    ("projectcontour.io/v1", "HTTPProxy"): {
        "virtualhost": {
            "fqdn": None, "tls": {"secretName"},
            "authorization": {
                "extensionRef": {"apiVersion", "name", "namespace"}, "serviceType": None, "failOpen": None, "responseTimeout": None,
                "httpSettings": {"pathPrefix": None, "allowedAuthorizationHeaders": MATCHERS, "allowedUpstreamHeaders": MATCHERS},
                "withRequestBody": {"maxRequestBytes", "allowPartialMessage", "packAsBytes"}, "authPolicy": {"disabled", "context"},
            },
        },
        "routes": {"conditions": {"prefix"}, "services": {"name", "port"}, "authPolicy": {"disabled", "context"}},
    },
}  # fmt: skip


def text(name: str) -> str:
    return (EXAMPLES / "gateway" / name).read_text(encoding="utf-8")


def documents(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text(name)) if document is not None]


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [document["spec"] for document in documents(name) if document["kind"] == kind]


def unknown(value: Any, fields: Any, where: str) -> Iterator[str]:
    """The names of a value that are not among the fields."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            for key, inner in item.items():
                if fields is None or key not in fields:
                    yield f"{where}.{key}"
                elif isinstance(fields, dict):
                    yield from unknown(inner, fields[key], f"{where}.{key}")
        elif isinstance(fields, dict):
            yield where


def test_every_example_is_here():
    assert {path.name for path in (EXAMPLES / "gateway").iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_fields_are_known(name: str):
    for document in documents(name):
        fields = FIELDS[document["apiVersion"], document["kind"]]
        assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
        assert document["metadata"].keys() == {"name", "namespace"}
        assert list(unknown(document["spec"], fields, document["kind"])) == []


def test_the_look_at_fields_finds_what_is_wrong():
    fields = FIELDS["projectcontour.io/v1alpha1", "ExtensionService"]
    assert list(unknown({"protocoll": "h2"}, fields, "x")) == ["x.protocoll"]
    assert list(unknown({"services": [{"nam": "a"}]}, fields, "x")) == ["x.services.nam"]
    assert list(unknown({"validation": "yes"}, {"validation": {"a": None}}, "x")) == ["x.validation"]
    assert list(unknown({"protocol": {"a": 1}}, fields, "x")) == ["x.protocol.a"]


# --- the door ---------------------------------------------------------------------------------------------


def listeners(name: str) -> tuple[ConfigShape, dict[int, str]]:
    """The configuration that the file's head shows, and its ports."""
    head = text(name).partition("\n---")[0]
    shown = re.findall(r"^#   (?=listeners:| |trusted_proxies:)(.*)$", head, re.MULTILINE)
    data = yaml.safe_load("\n".join(line for line in shown if "→" not in line))
    shape = ConfigShape.model_validate(data | {"policies": {"path": "policies"}, "routes": "routes.yaml"})
    ports = {}
    for door, found in (("http", shape.listeners.http), ("grpc", shape.listeners.grpc)):
        for listener in found:
            ports[int(str(listener.address).rpartition(":")[2])] = door
    return shape, ports


def asked_doors(name: str) -> Iterator[tuple[str, int]]:
    """Each door that the file asks, as it speaks to it, and its port."""
    backends = {
        (document["metadata"]["namespace"], document["metadata"]["name"]): document["spec"]
        for document in documents(name)
        if document["kind"] in {"Backend", "ExtensionService"}
    }
    for policy in of_kind(name, "SecurityPolicy"):
        for door in policy["extAuth"].keys() & {"grpc", "http"}:
            for reference in policy["extAuth"][door]["backendRefs"]:
                backend = (
                    backends.get((reference["namespace"], reference["name"]))
                    if reference["kind"] == "Backend"
                    else None
                )
                yield door, backend["endpoints"][0]["fqdn"]["port"] if backend is not None else reference["port"]
    for proxy in of_kind(name, "HTTPProxy"):
        check = proxy["virtualhost"]["authorization"]
        service = backends[check["extensionRef"]["namespace"], check["extensionRef"]["name"]]
        yield check["serviceType"], service["services"][0]["port"]
    for check in external_auths(name):
        yield check["protocol"].lower(), check["backendRef"]["port"]


def external_auths(name: str) -> list[dict[str, Any]]:
    rules = [rule for route in of_kind(name, "HTTPRoute") for rule in route["rules"]]
    return [item["externalAuth"] for rule in rules for item in rule["filters"] if item["type"] == "ExternalAuth"]


@pytest.mark.parametrize("name", FILES)
def test_the_doors_that_are_asked_are_those_of_the_listeners_shown(name: str):
    shape, ports = listeners(name)
    asked = list(asked_doors(name))
    assert sorted(asked) == sorted((door, port) for port, door in ports.items())
    assert {door for door, _ in asked} == {"grpc", "http"}
    for listener in (*shape.listeners.http, *shape.listeners.grpc):
        # Whoever may ask can name any client: by its certificate, or by its network.
        by_name = listener.tls is not None and listener.tls.client_ca is not None and listener.tls.clients
        assert by_name or "trusted_proxies" in shape.model_fields_set
    assert "0.0.0.0/0" not in map(str, shape.trusted_proxies)


def http_questions(name: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """Of each question over HTTP: its path, the headers sent, those that the service gets."""
    for policy in of_kind(name, "SecurityPolicy"):
        http = policy["extAuth"].get("http")
        if http is not None:
            yield http["path"], set(policy["extAuth"]["headersToExtAuth"]), set(http["headersToBackend"])
    for proxy in of_kind(name, "HTTPProxy"):
        check = proxy["virtualhost"]["authorization"].get("httpSettings")
        if check is not None:
            sent, back = ({next(iter(rule.values())) for rule in check[key]} for key in
                          ("allowedAuthorizationHeaders", "allowedUpstreamHeaders"))  # fmt: skip
            yield check["pathPrefix"], sent, back
    for check in external_auths(name):
        if check["protocol"] == "HTTP":
            http = check["http"]
            yield http["path"], set(http["allowedHeaders"]), set(http["allowedResponseHeaders"])


@pytest.mark.parametrize("name", FILES)
def test_over_http_the_path_names_the_dialect_and_the_headers_suffice(name: str):
    found = list(http_questions(name))
    assert found
    for path, sent, back in found:
        assert path == ENVOY_PREFIX
        assert dialect_of(f"{path}/documents/7") is Dialect.ENVOY
        assert sent >= READ_OVER_HTTP
        assert back  # an empty list: nothing, or with the Gateway API everything
        assert all(header.startswith("x-auth-") for header in back)


def test_over_grpc_no_header_is_held_back():
    for policy in of_kind("envoy-gateway.yaml", "SecurityPolicy"):
        assert ("headersToExtAuth" in policy["extAuth"]) == ("http" in policy["extAuth"])
    for check in external_auths("gateway-api.yaml"):
        assert check["protocol"] == "HTTP" or check["grpc"] == {}


# --- fail closed ------------------------------------------------------------------------------------------


def test_envoy_gateway_fails_closed_and_says_that_it_is_a_failure():
    policies = of_kind("envoy-gateway.yaml", "SecurityPolicy")
    assert policies[0]["targetRefs"][0]["kind"] == "Gateway"  # routes that are added later too
    for policy in policies:
        check = policy["extAuth"]
        assert check["failOpen"] is False
        assert check["statusOnError"] == 503
        assert int(check["timeout"].removesuffix("ms")) / 1000 > DEADLINE


def test_envoy_gateway_reads_one_path_and_takes_no_identity_from_clients():
    (policy,) = of_kind("envoy-gateway.yaml", "ClientTrafficPolicy")
    assert policy["path"] == {"escapedSlashesAction": "RejectRequest", "disableMergeSlashes": False}
    assert policy["headers"]["withUnderscoresAction"] == "RejectRequest"
    assert policy["headers"]["earlyRequestHeaders"]["removeOnMatch"] == [{"type": "Prefix", "value": "x-auth-"}]


def test_contour_fails_closed():
    for proxy in of_kind("contour.yaml", "HTTPProxy"):
        check = proxy["virtualhost"]["authorization"]
        assert check["failOpen"] is False
        assert int(check["responseTimeout"].removesuffix("ms")) / 1000 > DEADLINE
        assert proxy["virtualhost"]["tls"]  # without it Contour authorizes nothing
        assert all("authPolicy" not in route for route in proxy["routes"])
    for service in of_kind("contour.yaml", "ExtensionService"):
        assert int(service["timeoutPolicy"]["response"].removesuffix("ms")) / 1000 > DEADLINE
        assert service["validation"]


def test_with_the_gateway_api_no_rule_is_without_the_filter():
    for route in of_kind("gateway-api.yaml", "HTTPRoute"):
        for rule in route["rules"]:
            assert [item["type"] for item in rule["filters"]] == ["ExternalAuth"]


@pytest.mark.parametrize("name", ["envoy-gateway.yaml", "gateway-api.yaml"])
def test_what_is_named_in_another_namespace_is_granted(name: str):
    (grant,) = of_kind(name, "ReferenceGrant")
    granted = {(item["kind"], item["name"]) for item in grant["to"]}
    froms = {(item["kind"], item["namespace"]) for item in grant["from"]}
    for document in documents(name):
        references = list(references_in(document["spec"]))
        for reference in references:
            assert reference["namespace"] == "authz"
            assert (reference["kind"], reference["name"]) in granted
            assert (document["kind"], document["metadata"]["namespace"]) in froms


def references_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from references_in(item)
    elif isinstance(value, dict):
        if value.get("kind") in {"Service", "Backend"} and "namespace" in value:
            yield value
        for inner in value.values():
            yield from references_in(inner)
