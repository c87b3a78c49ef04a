"""Our messages are Envoy's on the wire: same numbers, same types, another package."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from authz.servers import extauthz_pb2
from tests.proxies.harness import tool

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("authz/servers/extauthz_pb2.py", "authz/servers/extauthz_pb2.pyi")

# Envoy 1.40, measured; number of each field that is used.
NUMBERS = {
    "CheckRequest": {"attributes": 1},
    "AttributeContext": {"source": 1, "destination": 2, "request": 4, "context_extensions": 10, "tls_session": 12},
    "AttributeContext.Peer": {"address": 1, "service": 2, "principal": 4, "certificate": 5},
    "AttributeContext.Request": {"http": 2},
    "AttributeContext.HttpRequest": {
        "id": 1,
        "method": 2,
        "headers": 3,
        "path": 4,
        "host": 5,
        "scheme": 6,
        "query": 7,
        "fragment": 8,
        "size": 9,
        "protocol": 10,
        "body": 11,
        "raw_body": 12,
        "header_map": 13,
    },
    "AttributeContext.TLSSession": {"sni": 1},
    "CheckResponse": {
        "status": 1,
        "denied_response": 2,
        "ok_response": 3,
        "dynamic_metadata": 4,
        "error_response": 5,
    },
    "DeniedHttpResponse": {"status": 1, "headers": 2, "body": 3},
    "OkHttpResponse": {"headers": 2, "headers_to_remove": 5},
    "Address": {"socket_address": 1},
    "SocketAddress": {"address": 2, "port_value": 3},
    "HeaderMap": {"headers": 1},
    "HeaderValue": {"key": 1, "value": 2, "raw_value": 3},
    "HeaderValueOption": {"header": 1, "append": 2},
    "BoolValue": {"value": 1},
    "HttpStatus": {"code": 1},
    "Status": {"code": 1},
    "HealthCheckRequest": {"service": 1},
    "HealthCheckResponse": {"status": 1},
}

# Where each stands in Envoy's own files.
FILES = {
    "envoy/service/auth/v3/external_auth.proto": (
        "CheckRequest",
        "CheckResponse",
        "DeniedHttpResponse",
        "OkHttpResponse",
    ),
    "envoy/service/auth/v3/attribute_context.proto": tuple(name for name in NUMBERS if name.startswith("Attribute")),
    "envoy/config/core/v3/address.proto": ("Address", "SocketAddress"),
    "envoy/config/core/v3/base.proto": ("HeaderMap", "HeaderValue", "HeaderValueOption"),
    "envoy/type/v3/http_status.proto": ("HttpStatus",),
    "google/rpc/status.proto": ("Status",),
    "google/protobuf/wrappers.proto": ("BoolValue",),
}


def ours() -> dict[str, Descriptor]:
    found: dict[str, Descriptor] = {}
    pending = list(extauthz_pb2.DESCRIPTOR.message_types_by_name.values())
    while pending:
        message = pending.pop()
        if not message.GetOptions().map_entry:
            found[message.full_name.removeprefix("authz.extauthz.")] = message
            pending.extend(message.nested_types)
    return found


def test_field_numbers_are_those_of_envoy():
    actual = {name: {field.name: field.number for field in message.fields} for name, message in ours().items()}
    assert actual == NUMBERS


def test_the_package_is_our_own():
    assert extauthz_pb2.DESCRIPTOR.package == "authz.extauthz"
    assert extauthz_pb2.DESCRIPTOR.name == "authz/servers/extauthz.proto"


def test_the_committed_module_is_what_the_proto_generates(tmp_path):
    script = ROOT / "scripts/generate_proto.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for path in GENERATED:
        assert (tmp_path / path).read_text() == (ROOT / path).read_text(), f"{path}: run scripts/generate_proto.py"


# --- Envoy's own descriptors, out of the binary ------------------------------------------------------------

# What may stand for what: the encodings are the same, and we want less work or fewer files.
SAME_ON_THE_WIRE = {
    (FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_STRING),
    (FieldDescriptorProto.TYPE_INT32, FieldDescriptorProto.TYPE_ENUM),
}


@pytest.fixture(scope="module")
def envoy_files() -> dict[str, FileDescriptorProto]:
    """A C++ program carries the descriptors of its messages as serialized FileDescriptorProtos."""
    with (
        tool("lib/python3*/site-packages/envoy/_bin/envoy").open("rb") as binary,
        mmap.mmap(binary.fileno(), 0, access=mmap.ACCESS_READ) as image,
    ):
        return {name: _embedded(image, name) for name in FILES}


def _embedded(image: mmap.mmap, name: str) -> FileDescriptorProto:
    start = f"\n{chr(len(name))}{name}".encode()
    position = image.find(start)
    while position >= 0:
        try:
            found = FileDescriptorProto.FromString(image[position : _end(image, position)])
        except ValueError:
            found = FileDescriptorProto()
        if found.package and found.message_type:
            return found
        position = image.find(start, position + 1)
    raise AssertionError(f"`{name}` is not in the binary")


def _end(image: mmap.mmap, start: int) -> int:
    """Where the fields of a FileDescriptorProto end; its last is `syntax` (12), and all are length-delimited."""
    position = start
    while image[position] & 7 == 2:
        number = image[position] >> 3
        length = shift = 0
        while True:
            position += 1
            length |= (image[position] & 0x7F) << shift
            shift += 7
            if image[position] < 0x80:
                break
        position += 1 + length
        if number == 12:
            break
    return position


def _message(file: FileDescriptorProto, name: str) -> DescriptorProto:
    outer, *inner = name.split(".")
    message = next(message for message in file.message_type if message.name == outer)
    for part in inner:
        message = next(nested for nested in message.nested_type if nested.name == part)
    return message


@pytest.mark.proxy
@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in FILES.items() for name in names])
def test_every_field_is_the_one_of_a_real_envoy(envoy_files, file, name):
    theirs = {field.name: field for field in _message(envoy_files[file], name).field}
    for field in ours()[name].fields:
        other = theirs[field.name]
        assert field.number == other.number
        assert field.is_repeated == (other.label == FieldDescriptorProto.LABEL_REPEATED)
        assert field.type == other.type or (field.type, other.type) in SAME_ON_THE_WIRE, field.full_name
        if field.message_type is not None:
            assert field.message_type.name == other.type_name.rpartition(".")[2]
