"""`importmail ADDRESS PATH...`: take messages over from files, mboxes, Maildirs and POP3 accounts."""

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from accounts.lookup import FoundMailbox, find_mailboxes
from mailplatform.management.base import MailCommand
from mailplatform.management.passwords import add_password_option, read_password
from mailstore.importing import EmptyMessageError, Importer
from mailstore.maildirs import list_folders_beside
from mailstore.pop3_client import Pop3Client, Pop3Error, RefusedError
from mailstore.pop3_source import Listed, list_account, open_account, read_account
from mailstore.pop3_url import Pop3Url, is_pop3_url, parse_pop3_url
from mailstore.progress import Watch, watch
from mailstore.quota import RoomRequest, have_room
from mailstore.rows import MailboxGoneError
from mailstore.sources import SOURCE_ERRORS, count_octets, printable, read_source, read_stream

_STDIN = "-"


class Command(MailCommand):
    help = (
        "Import messages into a mailbox. Nothing but line ends is changed, nothing is added, and quotas do not count. "
        "A file that cannot be read is named and skipped; the exit code is then 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", metavar="ADDRESS")
        parser.add_argument(
            "paths",
            metavar="PATH",
            nargs="+",
            help="a message (.eml), an mbox, a Maildir; - is one message on stdin; "
            "or a POP3 account, pop3s://LOGIN@HOST[:PORT] or pop3:// for STLS, from which nothing is deleted",
        )
        add_password_option(parser)
        parser.add_argument(
            "--keep-uidls",
            action="store_true",
            help="from a POP3 account: messages keep their unique-ids, so that no client fetches them again; "
            "what is here by its unique-id is not fetched, so an import that was broken off is run again",
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
            raise CommandError(f"no such mailbox: {options['address']}; add it with addaccount, or in admin")
        account, keep_for = self._account(options), mailbox.id if options["keep_uidls"] else None
        skips = options["skip_duplicates"] or options["keep_uidls"]
        importer = Importer(mailbox_id=mailbox.id, skip_duplicates=skips)
        try:
            if account is None:
                failed = self._import(importer, options["paths"], mboxo=options["mbox_format"] == "mboxo")
            else:
                failed = self._import_account(importer, *account, keep_for=keep_for)
        except MailboxGoneError as error:
            raise CommandError(f"{mailbox.address} was removed") from error
        except DatabaseError as error:
            raise CommandError(f"the database failed: {error}; {_so_far(importer)}") from error
        except KeyboardInterrupt as error:
            raise CommandError(f"interrupted; {_so_far(importer)}", returncode=130) from error
        self.stdout.write(f"{mailbox.address}: {_summary(importer)}")
        self._say_if_full(mailbox)
        if failed:
            raise CommandError(f"{failed} could not be imported")

    def _account(self, options: dict[str, Any]) -> tuple[Pop3Url, str] | None:
        """The POP3 account that is named, and its password; None where it is files."""
        paths = options["paths"]
        if not any(map(is_pop3_url, paths)):
            if options["keep_uidls"]:
                raise CommandError("--keep-uidls: files have no unique-ids; name a POP3 account")
            return None
        if len(paths) > 1:
            raise CommandError("a POP3 account is imported by itself")
        try:
            url = parse_pop3_url(paths[0])
        except ValueError as error:
            raise CommandError(str(error)) from error
        return url, read_password(options, f"Password of {url}: ")

    def _import_account(self, importer: Importer, url: Pop3Url, password: str, *, keep_for: int | None) -> int:
        """Import all that the account has and is not here; answers how many messages could not be had."""
        try:
            with open_account(url, password) as client:
                listing = list_account(client, keep_for=keep_for)
                importer.duplicates += listing.here
                total = sum(each.octets for each in listing.wanted)
                with watch(self.stderr, "Importing", total=total) as bar, importer:
                    failed, broken = _import_listed(importer, client, listing.wanted, bar)
                if broken is not None:
                    raise broken
                with suppress(Pop3Error):
                    client.quit()
        except (Pop3Error, OSError) as error:  # the latter from a disk that is full
            if not importer.imported and not importer.duplicates:
                raise CommandError(f"{url}: {_reason(error)}; nothing was imported") from error
            again = "run it again" if keep_for is not None else "run it again with --skip-duplicates"
            raise CommandError(f"{url}: {_reason(error)}; {_summary(importer)} so far; {again} to go on") from error
        return failed

    def _say_if_full(self, mailbox: FoundMailbox) -> None:
        """Imported mail is stored whatever the quota; what comes in afterwards is not."""
        if not have_room([RoomRequest(mailbox, 0)])[0]:
            self.stderr.write(
                f"{mailbox.address} has no room left in its quota: it takes no more mail until that is changed"
            )

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
    found = failed = 0
    name = "standard input" if path == _STDIN else printable(path)
    try:
        for message in read_stream(sys.stdin.buffer) if path == _STDIN else read_source(Path(path), mboxo=mboxo):
            found += 1
            try:
                importer.add(replace(message, chunks=bar.counted(message.chunks)))
            except (OSError, EmptyMessageError) as error:
                bar.say(f"{message.name}: {_reason(error)}; skipped")
                failed += 1
        if not found:
            bar.say(f"{name}: there is no message in it")
    except SOURCE_ERRORS as error:
        bar.say(f"{name}: {_reason(error)}; skipped")
        failed += 1
    if folders := list_folders_beside(Path(path)):
        bar.say(f"{name}: not imported are the folders in it, to be named one by one: {printable(', '.join(folders))}")
    return failed


def _import_listed(
    importer: Importer, client: Pop3Client, wanted: list[Listed], bar: Watch
) -> tuple[int, Pop3Error | OSError | None]:
    """Import these messages of an account; answers how many it did not give, and what broke it off."""
    failed = 0
    for each in wanted:
        if each.why:
            bar.say(f"message {each.number}: its unique-id is not kept: {each.why}")
    for message in read_account(client, wanted):
        try:
            importer.add(replace(message, chunks=bar.counted(message.chunks)))
        except RefusedError as error:
            bar.say(f"{error}; skipped")
            failed += 1
        except EmptyMessageError as error:
            bar.say(f"{message.name}: {error}; skipped")
            failed += 1
        except (Pop3Error, OSError) as error:  # what was read before is stored all the same
            return failed, error
    return failed, None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _so_far(importer: Importer) -> str:
    return f"{_summary(importer)} so far; run it again with --skip-duplicates to go on"


def _summary(importer: Importer) -> str:
    messages = f"{importer.imported} {'message' if importer.imported == 1 else 'messages'} imported"
    if importer.duplicates:
        messages += f", {importer.duplicates} skipped as duplicates"
    return messages
