"""`importmail ADDRESS PATH...`: take messages over from files, mboxes and Maildirs."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from accounts.lookup import find_mailboxes
from mailstore.importing import Importer
from mailstore.progress import Watch, watch
from mailstore.rows import MailboxGoneError
from mailstore.sources import SOURCE_ERRORS, FoundMessage, count_octets, printable, read_chunks, read_source

_STDIN = "-"


class Command(BaseCommand):
    help = (
        "Import messages into a mailbox. Nothing but line ends is changed, nothing is added, and quotas do not count. "
        "A file that cannot be read is named and skipped; the exit code is then 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", metavar="ADDRESS")
        parser.add_argument(
            "paths", metavar="PATH", nargs="+", help="a message (.eml), an mbox, a Maildir; - is one message on stdin"
        )
        parser.add_argument(
            "--skip-duplicates",
            action="store_true",
            help="leave out what the mailbox already has, octet for octet, live or among the deleted",
        )
        parser.add_argument(
            "--mbox-format",
            choices=["mboxrd", "mboxo"],
            default="mboxrd",
            help='how lines that begin with "From " are quoted in mbox files: mboxrd (the default) or mboxo',
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["paths"].count(_STDIN) > 1:
            raise CommandError("standard input is one message: name it once")
        (mailbox,) = find_mailboxes([options["address"]])
        if mailbox is None:
            raise CommandError(f"no such mailbox: {options['address']}")
        importer = Importer(mailbox_id=mailbox.id, skip_duplicates=options["skip_duplicates"])
        try:
            failed = self._import(importer, options["paths"], mboxo=options["mbox_format"] == "mboxo")
        except MailboxGoneError as error:
            raise CommandError(f"{mailbox.address} was removed") from error
        except DatabaseError as error:
            raise CommandError(f"the database failed: {error}; {_summary(importer)}") from error
        except KeyboardInterrupt as error:
            raise CommandError(f"interrupted; {_summary(importer)}", returncode=130) from error
        self.stdout.write(f"{mailbox.address}: {_summary(importer)}")
        if failed:
            raise CommandError(f"{failed} could not be imported")

    def _import(self, importer: Importer, paths: list[str], *, mboxo: bool) -> int:
        """Import all that can be read; answers how many files and messages could not."""
        watched = self.stderr.isatty()
        sizes = [None if path == _STDIN else count_octets(Path(path)) for path in paths] if watched else []
        total = None if None in sizes else sum(size or 0 for size in sizes)
        failed = 0
        with watch(self.stderr, "Importing", total=total) as bar, importer:
            for path in paths:
                failed += _import_source(importer, path, bar, mboxo=mboxo)
        return failed


def _import_source(importer: Importer, path: str, bar: Watch, *, mboxo: bool) -> int:
    """Import one file or folder; answers how many failures it met."""
    failed = 0
    try:
        for message in _stdin() if path == _STDIN else read_source(Path(path), mboxo=mboxo):
            try:
                importer.add(replace(message, chunks=bar.counted(message.chunks)))
            except OSError as error:
                bar.say(f"{message.name}: {error.strerror or error}; skipped")
                failed += 1
    except SOURCE_ERRORS as error:
        bar.say(f"{printable(path)}: {getattr(error, 'strerror', None) or error}; skipped")
        failed += 1
    return failed


def _stdin() -> Iterator[FoundMessage]:
    yield FoundMessage("standard input", read_chunks(sys.stdin.buffer))


def _summary(importer: Importer) -> str:
    messages = f"{importer.imported} {'message' if importer.imported == 1 else 'messages'} imported"
    if importer.duplicates:
        messages += f", {importer.duplicates} skipped as duplicates"
    return messages
