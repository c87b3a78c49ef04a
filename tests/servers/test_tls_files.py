"""Certificate files: what is taken, what is refused and told, and what a renewal leaves as it was."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.errors import Misconfigured
from authz.servers.pem import MAX_FILE
from authz.servers.tls import Certificates, TlsMaterial, read_material
from tests.servers.tls_support import DAY, Authority, World, ec_key, ed_key, put, rsa_key


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def told(world: World) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        read_material(world.mutual())
    return [str(problem).replace(f"{world.folder}/", "") for problem in caught.value.problems]


# --- what is taken ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [ec_key, ed_key, rsa_key, lambda: ec.generate_private_key(ec.SECP384R1())])
def test_a_pair_is_read_whole_and_makes_a_context(world, key):
    pair = world.serve(key=key())
    material = read_material(world.mutual())
    assert material.certificate == pair.pem
    assert material.client_ca == world.client_ca.pem
    assert (material.expires, material.warnings) == (pair.certificate.not_valid_after_utc, ())
    context = Certificates(world.mutual(), material).context()
    assert (context.verify_mode, context.minimum_version) == (ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2)


def test_a_chain_a_key_of_older_form_and_words_around_them_are_taken(world):
    pair = Authority("Sub", parent=world.ca).issue("localhost")
    old = pair.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    put(world.folder / "server.pem", b"Subject: ours\n" + pair.pem.replace(b"\n", b"\r\n") + b"the end\n")
    put(world.folder / "server.key", parameters + old)
    assert read_material(world.files()).certificate == pair.pem


def test_no_secret_is_shown(world):
    shown = repr(read_material(world.mutual())) + repr(Certificates.read(world.mutual()))
    assert "PRIVATE" not in shown
    assert "BEGIN" not in shown


@pytest.mark.parametrize(
    ("ends", "warns"), [(timedelta(days=13), True), (timedelta(days=15), False), (timedelta(minutes=5), True)]
)
def test_what_ends_soon_is_warned_of(world, ends, warns):
    world.serve(ends=ends)
    lines = [str(warning) for warning in read_material(world.files()).warnings]
    assert bool(lines) is warns
    for line in lines:
        assert line.startswith(f"{world.folder}/server.pem: warning: expires at ")


def test_an_expired_ca_beside_a_good_one_is_warned_of(world):
    put(world.folder / "clients.pem", world.client_ca.pem + Authority("Old", ends=-DAY).pem)
    (warning,) = read_material(world.mutual()).warnings
    assert "1 of 2 CAs have expired" in warning.message


def test_a_context_is_modern(world):
    context = world.tls(minimum="1.3").context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    context = world.tls().context()
    assert {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"} == {
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    }  # fmt: skip
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode is ssl.CERT_NONE


# --- what is refused --------------------------------------------------------------------------------------

Spoil = Callable[[World], object]


def server(name: str, content: Callable[[bytes], bytes]) -> Spoil:
    def spoil(world: World) -> None:
        path = world.folder / name
        put(path, content(path.read_bytes()))

    return spoil


def key_of(key: Callable[[], object]) -> Spoil:
    def spoil(world: World) -> None:
        found = key()
        put(world.folder / "server.key", found.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # type: ignore[attr-defined]

    return spoil


def small_rsa() -> rsa.RSAPrivateKey:
    return rsa_key(1024)


def renamed(world: World) -> None:
    (world.folder / "server.pem").unlink()


def folder(world: World) -> None:
    (world.folder / "server.key").unlink()
    (world.folder / "server.key").mkdir()


def pipe(world: World) -> None:
    (world.folder / "server.key").unlink()
    os.mkfifo(world.folder / "server.key")


DAMAGED = "server.pem: holds no PEM certificate, or one that is cut off or damaged"
NO_KEY = "server.key: holds no PEM private key, or one that is cut off or damaged"
NO_CA = "clients.pem: holds no PEM certificate, or one that is cut off or damaged"
OTHER_KEY = "server.key: is not the key of the certificate in `server.pem`; replace both together"
OTHER_KIND = "server.key: is a key of another kind; use EC P-256, or RSA of at least 2048 bits"
ORDER = "server.pem: certificate 2 of 2 issued none of those before it; put the server's own first, then the one that issued it, and so on"
SPOILT: dict[str, tuple[Spoil, list[str]]] = {
    "no certificate file": (renamed, ["server.pem: cannot be read: no such file or directory"]),
    "a folder": (folder, ["server.key: it is no file; name a PEM file"]),
    "a pipe that nobody writes to": (pipe, ["server.key: it is no file; name a PEM file"]),
    "empty certificate": (server("server.pem", lambda _: b""), [DAMAGED]),
    "rubbish": (server("server.pem", lambda _: b"\x00\xff" * 100), [DAMAGED]),
    "half a certificate": (server("server.pem", lambda text: text[: len(text) // 2]), [DAMAGED]),
    "half of the second": (server("server.pem", lambda text: text + text[: len(text) // 2]), [DAMAGED]),
    "a damaged certificate": (server("server.pem", lambda text: text.replace(b"MI", b"MM", 1)), [DAMAGED]),
    "too large": (server("server.pem", lambda text: text + b"\n" * MAX_FILE), [f"server.pem: is larger than {MAX_FILE} bytes"]),
    "empty key": (server("server.key", lambda _: b""), [NO_KEY]),
    "half a key": (server("server.key", lambda text: text[: len(text) // 2]), [NO_KEY]),
    "the certificate as key": (lambda world: put(world.folder / "server.key", (world.folder / "server.pem").read_bytes()), [NO_KEY]),
    "an encrypted key": (lambda world: put(world.folder / "server.key", world.serve().encrypted()), ["server.key: is encrypted, and nobody is there to type a pass phrase; store it without"]),
    "another's key": (key_of(ec_key), [OTHER_KEY]),
    "another's key of another kind": (key_of(ed_key), [OTHER_KEY]),
    "a short RSA key": (key_of(small_rsa), [OTHER_KIND]),
    "a curve of no use": (key_of(lambda: ec.generate_private_key(ec.SECP256K1())), [OTHER_KIND]),
    "DSA": (key_of(lambda: dsa.generate_private_key(2048)), [OTHER_KIND]),
    "a chain of strangers": (lambda world: put(world.folder / "server.pem", world.serve().pem + world.foreign_ca.pem), [ORDER]),
    "a chain in the wrong order": (lambda world: put(world.folder / "server.pem", world.ca.pem + world.serve().pem), [ORDER, OTHER_KEY]),
    "a chain of eleven": (lambda world: put(world.folder / "server.pem", world.serve().pem + world.ca.pem * 10), ["server.pem: holds more than 10 certificates; leave the server's and its chain"]),
    "a certificate of a client": (lambda world: world.serve(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), ["server.pem: is not for servers: its extended key usage lacks `serverAuth`"]),
    "no CA": (server("clients.pem", lambda _: b""), [NO_CA]),
    "half a CA": (server("clients.pem", lambda text: text + text[:-30]), [NO_CA]),
    "a CA that is none": (lambda world: put(world.folder / "clients.pem", world.client_ca.issue("a").pem), ["clients.pem: certificate 1 of 1 is not that of a CA; name the CA that issues the clients'"]),
    "an expired CA": (lambda world: put(world.folder / "clients.pem", Authority("Old", ends=-DAY).pem), ["clients.pem: 1 of 1 CAs have expired: their clients are refused"]),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_what_cannot_be_used_is_told_with_its_file(world, what):
    spoil, expected = SPOILT[what]
    spoil(world)
    assert [line.replace(f"{world.folder}/", "") for line in told(world)] == expected


def test_every_problem_of_all_files_is_told(world):
    for name in ("server.pem", "server.key", "clients.pem"):
        put(world.folder / name, b"rubbish")
    assert told(world) == [DAMAGED, NO_KEY, NO_CA]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({"ends": -timedelta(minutes=1)}, "expired at "),
        ({"begins": timedelta(hours=1)}, "is not valid before "),
    ],
)
def test_a_certificate_that_is_not_valid_now_is_refused(world, dates, expected):
    world.serve(**dates)
    (line,) = told(world)
    assert line.startswith(f"server.pem: {expected}")


def test_an_intermediate_that_has_expired_counts_as_the_certificates_own_end(world):
    pair = Authority("Sub", parent=world.ca, ends=-DAY).issue("localhost")
    pair.write(world.folder)
    (line,) = told(world)
    assert "expired at" in line


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # odd serial numbers
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_whatever_the_files_hold_it_is_taken_or_told(world, data):
    good = {name: (world.folder / name).read_bytes() for name in ("server.pem", "server.key", "clients.pem")}
    try:
        for name, text in good.items():
            cut = data.draw(st.integers(0, len(text)))
            middle = data.draw(
                st.sampled_from([b"", b"\x00", b"-----BEGIN CERTIFICATE-----\n", text]) | st.binary(max_size=40)
            )
            put(world.folder / name, text[:cut] + middle + text[cut:])
        material = read_material(world.mutual())
    except Misconfigured as error:
        assert error.problems
        assert "PRIVATE" not in str(error)
    else:
        Certificates(world.mutual(), material)
    finally:
        for name, text in good.items():
            put(world.folder / name, text)


# --- renewal ----------------------------------------------------------------------------------------------


class Told:
    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> None:
        self.times += 1


def renewing(world: World, change: Callable[[World], object]) -> tuple[bool, TlsMaterial, Certificates, int]:
    """What a renewal after `change` says, the material of before, and how often subscribers were told."""
    certificates = Certificates.read(world.mutual())
    before, callback = certificates.material, Told()
    certificates.subscribe(callback)
    change(world)
    renewed = asyncio.run(certificates.renew())
    return renewed, before, certificates, callback.times


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.serve(),
        lambda world: world.serve(key=rsa_key()),
        lambda world: put(world.folder / "clients.pem", world.client_ca.pem + world.foreign_ca.pem),
    ],
)
def test_a_new_pair_or_ca_makes_a_new_context(world, change, caplog):
    caplog.set_level(logging.INFO)
    renewed, before, certificates, times = renewing(world, change)
    assert renewed
    assert times == 1
    assert certificates.material != before
    assert "TLS certificate renewed" in caplog.text


def test_nothing_new_changes_nothing(world, caplog):
    caplog.set_level(logging.INFO)
    certificates = Certificates.read(world.mutual())
    context = certificates.context()

    def touch(world: World) -> None:
        for name in ("server.pem", "server.key", "clients.pem"):
            put(world.folder / name, (world.folder / name).read_bytes())

    renewed, _, _, times = renewing(world, touch)
    assert (renewed, times) == (False, 0)
    assert asyncio.run(certificates.renew()) is False
    assert certificates.context() is context
    assert caplog.text == ""


@pytest.mark.parametrize("what", SPOILT)
def test_rubbish_leaves_the_old_pair_and_is_told_each_time(world, what, caplog):
    certificates = Certificates.read(world.mutual())
    before, context = certificates.material, certificates.context()
    SPOILT[what][0](world)
    for _ in range(2):
        caplog.clear()
        assert asyncio.run(certificates.renew()) is False
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert errors
        assert all(
            "TLS files rejected, those read before go on: " in line and str(world.folder) in line for line in errors
        )
        assert "PRIVATE" not in caplog.text
    assert certificates.material is before
    assert certificates.context() is context


def test_an_expired_one_does_not_replace_one_that_counts(world):
    renewed, before, certificates, _ = renewing(world, lambda world: world.serve(ends=-DAY))
    assert not renewed
    assert certificates.material is before


def test_it_is_mended_by_the_next_good_pair(world):
    certificates = Certificates.read(world.files())
    put(world.folder / "server.key", b"")
    assert asyncio.run(certificates.renew()) is False
    world.serve()
    assert asyncio.run(certificates.renew()) is True


def test_a_subscriber_that_fails_keeps_no_other_from_its_news(world, caplog):
    certificates = Certificates.read(world.files())

    async def broken() -> None:
        raise ValueError("c4n4ry")

    other = Told()
    certificates.subscribe(broken)
    certificates.subscribe(other)
    world.serve()
    assert asyncio.run(certificates.renew()) is True
    assert other.times == 1
    assert "unexpected ValueError" in caplog.text
    assert "c4n4ry" not in caplog.text


def test_what_remains_is_told_in_seconds(world):
    certificates = Certificates.read(world.files())
    assert 364 * 86400 < certificates.remaining() < 365 * 86400
    ended = replace(certificates.material, expires=datetime.now(UTC) - DAY)
    assert Certificates(world.files(), ended).remaining() < -86399
