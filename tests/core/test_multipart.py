"""multipart/form-data: what browsers and libraries write is read, everything else refused."""

from __future__ import annotations

import email
import email.policy
from io import BytesIO

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Reason
from tests.core.body_support import outcome, read, request_with

TYPE = "multipart/form-data; boundary=x"
BAD, LARGE = Reason.BAD_BODY, Reason.TOO_LARGE


def part(content: bytes = b"1", name: str = 'name="a"', *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {name}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def whole(*parts: bytes, boundary: bytes = b"x") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + piece + b"\r\n" for piece in parts) + b"--" + boundary + b"--\r\n"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (whole(), {}),
        (whole(part()), {"a": ("1",)}),
        (whole(part())[:-2], {"a": ("1",)}),
        (whole(part(b"")), {"a": ("",)}),
        (whole(part(b"1"), part(b"2")), {"a": ("1", "2")}),
        (whole(part(b"1\r\n2\n3\r\n")), {"a": ("1\r\n2\n3\r\n",)}),
        (whole(part("ä".encode(), 'name="ü b;c"')), {"ü b;c": ("ä",)}),
        (whole(part(b"1", "name=a")), {"a": ("1",)}),
        (whole(part(b"1", 'Name="a"')), {"a": ("1",)}),
        (whole(part(b"1", 'name="a"', "Content-Type: text/plain")), {"a": ("1",)}),
        (whole(part(b"1", 'name="a"', "content-type: text/plain; charset=utf-8")), {"a": ("1",)}),
        (whole(part(b"1", 'name="a"', "Content-Type: text/plain;charset=US-ASCII")), {"a": ("1",)}),
        (whole(part(b"1", 'name="a"', "Content-Transfer-Encoding: 8bit")), {"a": ("1",)}),
        (whole(part(b"1", 'name="a"', "Content-Length: 1")), {"a": ("1",)}),
        (whole(part(b"--y")), {"a": ("--y",)}),
        (whole(part(b"100%", 'name="100%"')), {"100%": ("100%",)}),
    ],
)
def test_fields(body, fields):
    assert read(body, TYPE) == fields


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--x", b"--x--x", b"--x\r\n", b"preamble\r\n" + whole(part()), b"\r\n" + whole(part()),
        whole(part()) + b"epilogue", whole(part()) + b"\r\n", whole(part()) + whole(part()), whole(part())[:-4],
        whole(part())[:-6], whole(part()).replace(b"\r\n", b"\n"), whole(part()).replace(b"--x\r\n", b"--x \r\n", 1),
        whole(part()).replace(b"--x\r\n", b"--xy\r\n", 1),
        # a bare line feed is a line break to some
        whole(part(b'1\n--x\nContent-Disposition: form-data; name="b"\n\n2')), whole(part(b"1\r--x--")),
        whole(part(b"--x")), whole(part(b"y--xy")), whole(part(b"1\r\n--xy")),
        # headers
        whole(b"1"), whole(b"\r\n1"), whole(b"\r\n\r\n1"), whole(b"Content-Type: text/plain\r\n\r\n1"),
        whole(part(b"1", 'name="a"', 'Content-Disposition: form-data; name="b"')), whole(part(b"1", 'name="a"\n')),
        whole(part(b"1", 'name="a"', "X-Other: 1")), whole(part(b"1", 'name="a"', " folded: 1")),
        whole(part(b"1", 'name="a"', "Content-Type : text/plain")), whole(part(b"1", 'name="a"', "no colon")),
        whole(part(b"1", 'name="a"', "a:" + " \t" * 900 + "\x01")), whole(part(b"1", "name=a" + "; " * 900 + "\x01")),
        whole(part(b"1", 'name="a"', "Content-Encoding: gzip")), whole(part(b"1", 'name="a"', "Content-Length: 2")),
        whole(part(b"MQ==", 'name="a"', "Content-Transfer-Encoding: base64")),
        whole(part(b"1", 'name="a"', "Content-Type: text/plain; charset=latin-1")),
        whole(part(b"1", 'name="a"', "Content-Type: application/json")),
        whole(part(b"1", 'name="a"', "Content-Type: multipart/mixed; boundary=y")),
        # names
        whole(part(b"1", "")), whole(part(b"1", "name")), whole(part(b"1", "name=")), whole(part(b"1", 'name=""')),
        whole(part(b"1", 'name="a')), whole(part(b"1", 'name="a"b')), whole(part(b"1", 'name="a"; name="b"')),
        whole(part(b"1", 'name="a"; name*=utf-8\'\'b')), whole(part(b"1", "name*=utf-8''b")),
        whole(part(b"1", 'name="a"; x=1')), whole(part(b"1", 'name="a\\"b"')), whole(part(b"1", 'name="a%22b"')),
        whole(part(b"1", 'name="a%0Ab"')), whole(part(b"1", 'name=" a"')), whole(part(b"1", "name='a'; name=b")),
        whole(part()).replace(b"form-data", b"attachment"), whole(part()).replace(b'"a"', b'"\xff"'),
        # files
        whole(part(b"1", 'name="a"; filename="f.txt"')), whole(part(b"1", 'name="a"; filename=""')),
        whole(part(b"1", "name=\"a\"; filename*=utf-8''f")),
        # values
        whole(part(b"\xff")), whole(part(b"a\x00b")), whole(part(b"latin-1", 'name="_charset_"')),
    ],
)  # fmt: skip
def test_what_can_be_read_in_several_ways_is_refused(body):
    assert read(body, TYPE) is BAD or body == b""


@pytest.mark.parametrize("boundary", ["", "x ", "a b ", '"', "ä", "x" * 71, "a;b", "a\tb", "a@b"])
def test_other_boundaries_are_refused(boundary):
    request = request_with(whole(boundary=b"x"), f'multipart/form-data; boundary="{boundary}"')
    assert outcome(request) is BAD


@pytest.mark.parametrize("boundary", ["----WebKitFormBoundary7MA4YWxkTrZu0gW", "x" * 70, "0'()+_,-./:=?", "a b"])
def test_boundaries_of_the_standard(boundary):
    body = whole(part(), boundary=boundary.encode())
    assert read(body, f'multipart/form-data; boundary="{boundary}"') == {"a": ("1",)}


def test_parts_and_their_headers_are_bounded():
    assert read(whole(*[part()] * 256), TYPE) == {"a": ("1",) * 256}
    assert read(whole(*[part()] * 257), TYPE) is LARGE
    assert read(whole(*[part()] * 1000), TYPE) is LARGE
    assert read(whole(part(b"1", f'name="{"n" * 3000}"')), TYPE) is LARGE


NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(fields=st.lists(st.tuples(NAME, TEXT), max_size=5))
def test_a_body_is_read_as_the_email_package_reads_it(fields):
    parts = [part(value.encode(), f'name="{name}"') for name, value in fields]
    body = whole(*parts, boundary=b"a-boundary")
    got = read(body, "multipart/form-data; boundary=a-boundary")
    if not isinstance(got, dict):
        told = "".join(name + value for name, value in fields)
        assert any(sign in told for sign in '"\\%\0') or any(name != name.strip() for name, _ in fields)
        return
    # As bytes, whatever it takes for text: it knows no UTF-8 in headers.
    head = b"Content-Type: multipart/form-data; boundary=a-boundary\r\n\r\n"
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    values = [payload.get_payload(decode=True) for payload in message.iter_parts()] if fields else []
    if not any("\r" in value.replace("\r\n", "") for _, value in fields):  # a lone CR is a line break there
        assert values == [value.encode() for _, value in fields]
    assert got == {name: tuple(value for n, value in fields if n == name) for name, _ in fields}


class _Sink:
    def __init__(self) -> None:
        self.data = BytesIO()

    async def write(self, chunk: bytes) -> None:
        self.data.write(chunk)


async def test_what_an_http_library_writes_is_read():
    form = aiohttp.FormData(quote_fields=False)
    for name, value in (("amount", "100"), ("note", "zwölf\r\n"), ("note", "")):
        form.add_field(name, value, content_type="text/plain; charset=utf-8")
    payload = form()
    sink = _Sink()
    await payload.write(sink)  # type: ignore[arg-type]
    body = sink.data.getvalue()
    assert read(body, payload.headers["Content-Type"]) == {"amount": ("100",), "note": ("zwölf\r\n", "")}
    # The other way round: its reader sees the same fields.
    stream = aiohttp.StreamReader(_Protocol(), limit=2**16)  # type: ignore[arg-type]
    stream.feed_data(body)
    stream.feed_eof()
    reader = aiohttp.MultipartReader(payload.headers, stream)
    found = [(field.name, await field.text()) async for field in reader]  # type: ignore[union-attr]
    assert found == [("amount", "100"), ("note", "zwölf\r\n"), ("note", "")]


class _Protocol:
    _reading_paused = False

    def pause_reading(self) -> None: ...

    def resume_reading(self, *, resume_parser: bool = True) -> None: ...
