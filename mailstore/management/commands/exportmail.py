"""`exportmail ADDRESS --format mbox|maildir OUT`: write a mailbox's messages to files."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.lookup import find_mailboxes
from mailplatform.management.base import MailCommand
from mailstore.contents import ContentMissingError
from mailstore.exporting import count_octets, export_maildir, export_mbox
from mailstore.progress import watch

_FORMATS = {"mbox": export_mbox, "maildir": export_maildir}


class Command(MailCommand):
    help = (
        "Export the messages of a mailbox, those on the shelf left out, to an mbox file (mboxrd) or a Maildir. "
        "Importing the result gives the same octets again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", metavar="ADDRESS")
        parser.add_argument("--format", choices=list(_FORMATS), required=True)
        parser.add_argument("out", metavar="OUT", type=Path, help="where: a new or empty file, for a Maildir a folder")

    def handle(self, *args: Any, **options: Any) -> None:
        (mailbox,) = find_mailboxes([options["address"]])
        if mailbox is None:
            raise CommandError(f"no such mailbox: {options['address']}")
        export, out = _FORMATS[options["format"]], options["out"]
        try:
            with watch(self.stderr, "Exporting", total=count_octets(mailbox.id)) as bar:
                exported = export(mailbox_id=mailbox.id, out=out, progress=bar.advance)
        except OSError as error:
            raise CommandError(f"{out}: {error.strerror or error}; nothing was written") from error
        except ContentMissingError as error:
            raise CommandError(f"{error}; nothing was written") from error
        except KeyboardInterrupt as error:
            raise CommandError("interrupted; nothing was written", returncode=130) from error
        self.stdout.write(
            f"{mailbox.address}: {exported} {'message' if exported == 1 else 'messages'} exported to {out}"
        )
