"""Certificates: the one for the name that a client asks for, and those that are renewed, over real handshakes."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from mailplatform.certificate import _private_pem, kept_certificate
from mailplatform.certificates import Certificates, Files, paired

AUTHORITY = trustme.CA()


def write(directory: Path, *names: str, common_name: str | None = None, stem: str = "") -> Files:
    """A certificate for these names in files of their own; with `stem`, in those that were written before."""
    issued = AUTHORITY.issue_cert(*names, common_name=common_name)
    files = Files(directory / f"{stem or names[0]}.pem", directory / f"{stem or names[0]}.key")
    for path, octets in ((files.certfile, issued.cert_chain_pems[0]), (files.keyfile, issued.private_key_pem)):
        assert path is not None
        path.with_suffix(".new").write_bytes(octets.bytes())
        path.with_suffix(".new").replace(path)
    return files


def client(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    context.check_hostname = False
    context.minimum_version = context.maximum_version = version
    return context


class Handshake:
    """Both ends of a connection, in memory. Raises ssl.SSLError where they do not agree."""

    def __init__(
        self,
        certificates: Certificates,
        name: str | None = None,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = certificates.context.wrap_bio(there, back, server_side=True)
        self.client = (context or client()).wrap_bio(back, there, server_hostname=name, session=session)
        for _ in range(4):
            for end in (self.client, self.server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        self.server.write(b"tickets come with the first octets")
        self.client.read()

    @property
    def names(self) -> set[str]:
        """For whom the certificate is that the client was shown."""
        found = x509.load_der_x509_certificate(self.client.getpeercert(binary_form=True) or b"")
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return set(alternative.get_values_for_type(x509.DNSName))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("mail.jules.example", "mail.jules.example"),
        ("MAIL.jules.EXAMPLE", "mail.jules.example"),
        ("mail.alfred.example", "*.alfred.example"),
        ("pop.alfred.example", "*.alfred.example"),
        ("imap.alfred.example", "imap.alfred.example"),  # by its own name, though the wildcard came first
        ("a.pop.alfred.example", "mail.jules.example"),  # a wildcard is for one label (RFC 6125, 6.4.3)
        ("alfred.example", "mail.jules.example"),
        ("elsewhere.example", "mail.jules.example"),
        ("127.0.0.1", "mail.jules.example"),
        (None, "mail.jules.example"),
    ],
)
def test_rfc_6066_3_a_client_is_shown_the_certificate_for_the_name_it_asks_for(
    tmp_path: Path, asked: str | None, shown: str, version: ssl.TLSVersion
) -> None:
    certificates = Certificates(
        [
            write(tmp_path, "mail.jules.example"),
            write(tmp_path, "*.alfred.example", "other.example"),
            write(tmp_path, "imap.alfred.example"),
            write(tmp_path, "mail.jules.example", stem="second"),  # the first one for a name is shown
        ]
    )
    assert shown in Handshake(certificates, asked, client(version)).names


def test_rfc_8996_tls_1_1_is_no_more(tmp_path: Path) -> None:
    certificates = Certificates([Files(*kept_certificate(tmp_path))])
    assert certificates.context.minimum_version is ssl.TLSVersion.TLSv1_2
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old = client(ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        Handshake(certificates, "localhost", old)


@pytest.mark.parametrize(("offered", "agreed"), [(["imap", "pop3"], "pop3"), (["imap"], None), ([], None)])
def test_rfc_7301_the_protocol_is_agreed_upon(tmp_path: Path, offered: list[str], agreed: str | None) -> None:
    context = client()
    if offered:
        context.set_alpn_protocols(offered)
    certificates = Certificates([write(tmp_path, "a.example"), write(tmp_path, "b.example")], ["pop3"])
    assert Handshake(certificates, "b.example", context).client.selected_alpn_protocol() == agreed


class TestRenewal:
    def test_it_is_seen_at_the_second_look_and_connections_go_on(self, tmp_path: Path) -> None:
        certificates = Certificates([write(tmp_path, "old.example", stem="x")])
        before = Handshake(certificates, "old.example")
        certificates.look()
        write(tmp_path, "new.example", stem="x")
        certificates.look()  # perhaps the other file of the pair is still to come
        assert Handshake(certificates).names == {"old.example"}
        certificates.look()
        assert Handshake(certificates).names == {"new.example"}
        before.server.write(b"still here")
        assert before.client.read() == b"still here"

    def test_what_has_not_changed_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        certificates = Certificates([write(tmp_path, "a.example")])
        monkeypatch.setattr(certificates, "_load", None)
        for _ in range(3):
            certificates.look()

    @pytest.mark.parametrize("broken", ["nothing there", "no certificate", "of another key", "names"])
    def test_a_broken_one_leaves_the_old_one_in_use_and_is_said_once(
        self, tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = write(tmp_path, "a.example", stem="x")
        certificates = Certificates([files, write(tmp_path, "b.example")])
        if broken == "nothing there":
            files.certfile.unlink()
        elif broken == "no certificate":
            files.certfile.write_text("half a certifica")
        elif broken == "of another key":
            files.certfile.write_bytes(write(tmp_path, "c.example").certfile.read_bytes())
        else:
            write(tmp_path, "c.example", stem="x")
            monkeypatch.setattr(x509, "load_pem_x509_certificates", lambda octets: int("x"))
        for _ in range(4):
            certificates.look()
        assert Handshake(certificates, "a.example").names == {"a.example"}
        assert Handshake(certificates, "b.example").names == {"b.example"}
        assert caplog.text.count("the last one stays in use") == 1
        monkeypatch.undo()
        write(tmp_path, "d.example", stem="x")
        certificates.look()
        certificates.look()
        assert Handshake(certificates).names == {"d.example"}

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_sessions_are_resumed_after_it_but_not_when_all_is_read_anew(
        self, tmp_path: Path, version: ssl.TLSVersion
    ) -> None:
        """RFC 8446, 2.2; RFC 5077. `anew` is what HUP does: it gives the tickets other keys."""
        certificates = Certificates([write(tmp_path, "a.example"), write(tmp_path, "b.example")])
        context = client(version)
        session = Handshake(certificates, "b.example", context).client.session
        write(tmp_path, "b.example")
        certificates.renew()
        resumed = Handshake(certificates, "b.example", context, session).client
        assert resumed.session_reused
        assert not Handshake(certificates.anew(), "b.example", context, resumed.session).client.session_reused

    def test_a_full_handshake_brings_one_ticket_and_so_does_one_that_resumes(self, tmp_path: Path) -> None:
        certificates = Certificates([write(tmp_path, "a.example")])
        context, tickets = client(), []
        context._msg_callback = lambda *said: tickets.append(said[1:]) if said[4].name == "NEWSESSION_TICKET" else None
        session = Handshake(certificates, "a.example", context).client.session
        assert len(tickets) == 1
        assert Handshake(certificates, "a.example", context, session).client.session_reused
        assert len(tickets) == 2

    def test_the_first_certificate_of_a_new_kind_takes_the_place_of_the_old_one(self, tmp_path: Path) -> None:
        """Nobody is shown what the context of all handshakes began with, by the kind of key that they would like."""
        files = write(tmp_path, "a.example")
        certificates = Certificates([files])
        issued = AUTHORITY.issue_cert("b.example", key_type=trustme.KeyType.RSA)
        assert files.keyfile is not None
        issued.cert_chain_pems[0].write_to_path(files.certfile)
        issued.private_key_pem.write_to_path(files.keyfile)
        certificates.renew()
        for name in ("a.example", "b.example", None):
            assert Handshake(certificates, name).names == {"b.example"}


class TestFiles:
    def test_they_pair_off_in_order(self) -> None:
        one, two, key = Path("one"), Path("two"), Path("key")
        assert paired([one, two], []) == [Files(one), Files(two)]
        assert paired([one, two], [key, two]) == [Files(one, key), Files(two, two)]
        with pytest.raises(ValueError, match="one --keyfile for each --certfile"):
            paired([one, two], [key])

    def test_what_cannot_be_read_is_an_oserror_that_names_the_files(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match=r"/missing\.pem: .*No such file"):
            Certificates([Files(tmp_path / "missing.pem")])
        (tmp_path / "bad.pem").write_text("no certificate")
        with pytest.raises(OSError, match=r"/bad\.pem with .*/key\.pem: "):
            Certificates([Files(tmp_path / "bad.pem", tmp_path / "key.pem")])

    def test_a_key_with_a_passphrase_is_said_and_not_asked_for(self, tmp_path: Path) -> None:
        files = write(tmp_path, "a.example")
        assert files.keyfile is not None
        key = serialization.load_pem_private_key(files.keyfile.read_bytes(), None)
        files.keyfile.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        with pytest.raises(OSError, match="passphrase"):
            Certificates([files])

    def test_rfc_6125_6_4_4_without_alternative_names_the_common_name_counts(self, tmp_path: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Old.example")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        signed = made.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(1)).sign(key, SHA256())
        (tmp_path / "old.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM) + _private_pem(key))
        certificates = Certificates([write(tmp_path, "a.example"), Files(tmp_path / "old.pem")])
        assert set(certificates._named) == {"a.example", "old.example"}
