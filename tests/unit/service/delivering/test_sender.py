"""Sending by https: the certificate is the name's, and the connection the checked address's."""

import asyncio
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.delivering.sender import Letter, _certificates, send
from service.webhooks.happenings import ENDED
from service.webhooks.records import Try, Webhook
from service.webhooks.signing import new_secret
from tests.unit.service.conftest import now
from tests.unit.service.stub_server import Answer, StubServer

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def certificate_for(name: str, folder: Path) -> Path:
    """Write a key and a certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "receiver.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


def _read_request(connection: socket.socket) -> None:
    # All of it: a connection closed with bytes unread is reset, and its answer may be lost.
    request = b""
    while not request.endswith(b"{}"):
        more = connection.recv(65_536)
        if not more:
            return
        request += more


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Port of a receiver on loopback that is receiver.example to whoever trusts it."""
    file = certificate_for("receiver.example", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    monkeypatch.setattr("service.delivering.sender._certificates", lambda: trusting)
    addresses = (ipaddress.ip_address("127.0.0.1"),)

    async def resolve(*_: object) -> object:
        return addresses

    monkeypatch.setattr("service.delivering.sender.resolve", resolve)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # A sender that never comes must not keep the test.
        listener.settimeout(10)

        def answer() -> None:
            try:
                with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                    _read_request(connection)
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            except OSError:
                return  # The sender did not trust it.

        thread = threading.Thread(target=answer)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


def sent_to(url: str) -> Try:
    webhook = Webhook(
        id="hook",
        owner=None,
        all_jobs=True,
        url=url,
        events=frozenset(ENDED),
        secret=new_secret(),
        description="",
        created_at=now(),
    )
    letter = Letter(webhook=webhook, message_id="msg_1", event="webhook.test", body=b"{}")
    return asyncio.run(send(letter, LOOPBACK, now()))


def test_the_certificate_is_that_of_the_name(port: int) -> None:
    assert sent_to(f"https://receiver.example:{port}/hook").detail == "answered 204"


def test_another_name_at_the_same_address_is_not_believed(port: int) -> None:
    tried = sent_to(f"https://other.example:{port}/hook")
    assert not tried.delivered
    assert "certificate" in tried.detail.lower()


def test_a_wrong_file_of_certificates_is_told(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    tried = sent_to(f"https://127.0.0.1:{port}/hook")
    assert not tried.delivered
    assert tried.detail.startswith("SSL_CERT_FILE cannot be used: ")
    socket.create_connection(("127.0.0.1", port)).close()


def test_certificates_that_change_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate_for("first.example", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    first = _certificates()
    assert _certificates() is first
    certificate_for("second.example", tmp_path)
    os.utime(file, ns=(1, 1))
    assert _certificates() is not first
    file.write_text("no certificate")
    tried = sent_to("https://127.0.0.1/hook")
    assert tried.detail.startswith("SSL_CERT_FILE cannot be used: ")


def test_where_nobody_answers_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.delivering.sender.TIMEOUT_S", 1.5)
    addresses = tuple(map(ipaddress.ip_address, ("127.0.0.2", "127.0.0.1")))

    async def resolve(*_: object) -> object:
        return addresses

    monkeypatch.setattr("service.delivering.sender.resolve", resolve)
    with StubServer(lambda _: Answer(204)) as receiver, ExitStack() as full:
        port = int(receiver.url.rpartition(":")[2])
        silent = full.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        for _ in range(4):
            waiting = full.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        tried = sent_to(receiver.url)
    assert (tried.delivered, tried.detail) == (True, "answered 204")
