"""What the tests of the way out share: loopback listed as a target, and certificates made for the session."""

import datetime
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_django.fixtures import Settings

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class TestAuthority:
    """A certificate authority of our own. `bundle` is what AGENTVALET_CA_BUNDLE would name."""

    __test__ = False

    bundle: Path
    server: Callable[..., ssl.SSLContext]


@pytest.fixture
def loopback_listed(settings: Settings) -> None:
    """The operator lists loopback."""
    settings.PRIVATE_TARGETS = ["127.0.0.0/8", "::1"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    directory = tmp_path_factory.mktemp("ca")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A test authority")])
    today = datetime.datetime.now(datetime.UTC)

    def certificate(name: x509.Name, key: Key, days: int, extension: x509.ExtensionType) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=30))
            .not_valid_after(today + datetime.timedelta(days=days))
            .add_extension(extension, critical=True)
            .sign(ca_key, hashes.SHA256())
        )

    bundle = directory / "ca.pem"
    root = certificate(ca_name, ca_key, 30, x509.BasicConstraints(ca=True, path_length=0))
    bundle.write_bytes(root.public_bytes(serialization.Encoding.PEM))

    def server(*, host: str = "localhost", days: int = 30) -> ssl.SSLContext:
        """A server's TLS context for `host`, valid for `days` from today (negative: expired)."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        path = directory / f"{host}{days}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate(x509.Name([]), key, days, names).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    return TestAuthority(bundle=bundle, server=server)
