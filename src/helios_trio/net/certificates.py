"""What a TLS connection says about its two ends: names in certificates, and channel binding data.

The handshake fills a `TLSInfo`; authentication by certificate reads names from it, SCRAM-SHA-256-PLUS the
hash.
"""

from __future__ import annotations

import ssl

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID


@frozen
class TLSInfo:
    """What a handshake agreed on, and who the peer says it is (true only if the context verifies it)."""

    version: str
    cipher: str
    bits: int
    alpn: str | None
    peer_certificate: bytes | None
    """DER, or None if the peer showed none."""
    common_names: tuple[str, ...]
    """Values of CN in the subject, in order."""
    distinguished_name: str
    """The subject in the form of RFC 4514, "" without a certificate."""
    dns_names: tuple[str, ...]
    """Subject alternative names of type DNS."""


def describe_tls(sock: ssl.SSLSocket) -> TLSInfo:
    """What the finished handshake of `sock` has settled. Raises ValueError for an unreadable certificate."""
    cipher, _, bits = sock.cipher() or ("", "", 0)
    der = sock.getpeercert(binary_form=True)
    certificate = x509.load_der_x509_certificate(der) if der else None
    return TLSInfo(
        version=sock.version() or "",
        cipher=cipher,
        bits=bits,
        alpn=sock.selected_alpn_protocol(),
        peer_certificate=der,
        common_names=_common_names(certificate) if certificate else (),
        distinguished_name=certificate.subject.rfc4514_string() if certificate else "",
        dns_names=_dns_names(certificate) if certificate else (),
    )


def server_end_point(certificate: bytes) -> bytes | None:
    """The tls-server-end-point hash of a server certificate in DER (RFC 5929, section 4.1).

    The hash is the one of the certificate's signature, SHA-256 where that is MD5 or SHA-1. None where the
    signature names no hash (Ed25519): RFC 5929 does not define the binding then, and PostgreSQL offers none.
    """
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    digest = hashes.Hash(hashes.SHA256() if isinstance(algorithm, hashes.MD5 | hashes.SHA1) else algorithm)
    digest.update(certificate)
    return digest.finalize()


def _common_names(certificate: x509.Certificate) -> tuple[str, ...]:
    values = (name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    return tuple(value if isinstance(value, str) else value.decode("latin-1") for value in values)


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(extension.value.get_values_for_type(x509.DNSName))
