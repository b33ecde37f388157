"""Certificates for tests: an authority of their own, and what it signs, as PEM files in a folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@frozen
class KeyPair:
    """A certificate and its key, in files."""

    cert_file: Path
    key_file: Path
    der: bytes


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path, name: str = "test authority", key: Key | None = None) -> None:
        self._folder = folder
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        certificate = self._build(self._name, self._key.public_key(), SHA256(), authority=True)
        self.ca_file = folder / f"{name}.crt".replace(" ", "-")
        self.ca_file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self, common_name: str, *dns_names: str, digest: SHA256 | SHA384 | None = None, file: str = ""
    ) -> KeyPair:
        """A certificate for this name, in files called `file` (the name itself unless given)."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(_name(common_name), key.public_key(), digest or SHA256(), dns_names)
        cert_file = self._folder / f"{file or common_name}.crt"
        key_file = cert_file.with_suffix(".key")
        cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return KeyPair(cert_file, key_file, certificate.public_bytes(Encoding.DER))

    def _build(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
        digest: SHA256 | SHA384,
        dns_names: tuple[str, ...] = (),
        *,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if dns_names:
            names = [x509.DNSName(name) for name in dns_names]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, None if isinstance(self._key, ed25519.Ed25519PrivateKey) else digest)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
