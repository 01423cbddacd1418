"""Sending by https: the certificate is the name's, and the connection the checked address's."""

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.delivering.sender import Letter, send
from service.webhooks.happenings import ENDED
from service.webhooks.records import Try, Webhook
from service.webhooks.signing import new_secret
from tests.unit.service.conftest import now

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


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Port of a receiver on loopback that is receiver.example to whoever trusts it."""
    file = certificate_for("receiver.example", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    monkeypatch.setattr("service.delivering.sender._certificates", lambda: trusting)
    addresses = (ipaddress.ip_address("127.0.0.1"),)
    monkeypatch.setattr("service.delivering.sender.resolve", lambda _: addresses)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            try:
                with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                    connection.recv(65_536)
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
