"""The self-made certificate: trusted by who is told to, kept while it is good."""

import socket
import ssl
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from mailplatform import certificate
from mailplatform.certificate import kept_certificate


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_that_is_given_the_certificate_trusts_it(tmp_path: Path, host: str) -> None:
    certfile, keyfile = kept_certificate(tmp_path)
    ours, theirs = socket.socketpair()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certfile, keyfile)
    client = ssl.create_default_context(cafile=str(certfile))
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT  # what Python 3.13 asks for by default

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as connection:
            connection.sendall(b"+OK")

    serving = threading.Thread(target=serve)
    serving.start()
    with client.wrap_socket(ours, server_hostname=host) as connection:
        assert connection.recv(3) == b"+OK"
    serving.join()


def test_it_is_kept_and_its_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    certfile, keyfile = kept_certificate(tmp_path)
    before = certfile.read_bytes(), keyfile.read_bytes()
    assert kept_certificate(tmp_path) == (certfile, keyfile)
    assert (certfile.read_bytes(), keyfile.read_bytes()) == before
    assert stat.S_IMODE(keyfile.stat().st_mode) == 0o600


def test_one_that_runs_out_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "GOOD_FOR", timedelta(days=29))
    certfile, _ = kept_certificate(tmp_path)
    before = certfile.read_bytes()
    monkeypatch.undo()
    kept_certificate(tmp_path)
    assert certfile.read_bytes() != before


def test_one_that_cannot_be_read_or_lost_its_key_is_replaced(tmp_path: Path) -> None:
    certfile, keyfile = kept_certificate(tmp_path)
    certfile.write_bytes(b"not a certificate")
    kept_certificate(tmp_path)
    keyfile.unlink()
    kept_certificate(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certfile, keyfile)
