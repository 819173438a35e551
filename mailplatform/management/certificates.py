"""The options of the server commands that name certificates."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from mailplatform.certificates import Certificates, paired


def add_certificate_options(parser: ArgumentParser, *, offers: str) -> None:
    """`--certfile` and `--keyfile`; `offers` is the command of the protocol that begins TLS."""
    parser.add_argument(
        "--certfile",
        type=Path,
        action="append",
        default=[],
        help=f"certificate chain (PEM), with which {offers} is offered; may be repeated: clients are shown that for "
        "the name they ask for, or else the first",
    )
    parser.add_argument(
        "--keyfile",
        type=Path,
        action="append",
        default=[],
        help="private key (PEM), where the certificate's file has none; as often as --certfile, in the same order",
    )


def certificates_of(options: Mapping[str, Any], alpn: Sequence[str] = ()) -> Certificates | None:
    """What the options name; None where they name none. Raises CommandError."""
    certfiles, keyfiles = options["certfile"], options["keyfile"]
    if keyfiles and not certfiles:
        raise CommandError("--keyfile needs --certfile")
    if not certfiles:
        return None
    try:
        return Certificates(paired(certfiles, keyfiles), alpn)
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"the certificate cannot be read: {error}") from error
