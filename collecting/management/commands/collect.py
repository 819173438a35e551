"""`collect ADDRESS [--from URL]`: add an account, or look at all of a mailbox now; or change over to a new key."""

import asyncio
import signal
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from accounts.lookup import FoundMailbox, find_mailboxes
from collecting.claims import claim_one
from collecting.errands import Errands
from collecting.models import Source
from collecting.outcomes import describe
from collecting.passwords import reencrypt
from collecting.services import save_source, try_again_now
from mailplatform.management.base import MailCommand
from mailplatform.management.passwords import add_password_option, read_password
from mailstore.pop3_url import parse_pop3_url


class Command(MailCommand):
    help = (
        "Collect the mail of a mailbox from its other accounts now, whether they are due or not. "
        "Workers of smtpserve do so by themselves. With --from it is given an account to collect from."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", metavar="ADDRESS", nargs="?")
        parser.add_argument(
            "--from",
            dest="url",
            metavar="URL",
            help="collect from here from now on: pop3s://LOGIN@HOST[:PORT], or pop3:// for STLS",
        )
        add_password_option(parser)
        parser.add_argument("--delete", action="store_true", help="with --from: delete there what is stored here")
        parser.add_argument(
            "--every", type=int, default=15, metavar="MINUTES", help="with --from: between two looks (%(default)s)"
        )
        parser.add_argument(
            "--reencrypt", action="store_true", help="encrypt all passwords anew, with the first of COLLECT_KEYS"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["reencrypt"]:
            return self._reencrypt()
        if not options["address"]:
            raise CommandError("name a mailbox, or --reencrypt")
        (mailbox,) = find_mailboxes([options["address"]])
        if mailbox is None:
            raise CommandError(f"no such mailbox: {options['address']}")
        if options["url"]:
            return self._add(mailbox, options)
        sources = list(Source.objects.filter(mailbox_id=mailbox.id, is_active=True).order_by("pk"))
        if not sources:
            raise CommandError(f"{mailbox.address} collects from nowhere: add an account with --from, or in the admin")
        try:
            failed = asyncio.run(self._collect_all(sources))
        except (KeyboardInterrupt, asyncio.CancelledError):  # by INT, by TERM
            raise CommandError("interrupted; what was stored is stored") from None
        if failed:
            raise CommandError(f"{failed} of {len(sources)} failed")
        return None

    def _add(self, mailbox: FoundMailbox, options: dict[str, Any]) -> None:
        try:
            url = parse_pop3_url(options["url"])
        except ValueError as error:
            raise CommandError(f"--from: {error}") from error
        source = Source(
            mailbox_id=mailbox.id,
            host=url.host,
            port=url.port,
            tls=Source.Tls.IMPLICIT if url.tls else Source.Tls.STLS,
            login=url.login,
            keep=not options["delete"],
            interval_minutes=options["every"],
        )
        try:
            save_source(source=source, password=read_password(options, f"Password of {url}: "))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"{mailbox.address} collects from {source}")

    async def _collect_all(self, sources: Sequence[Source]) -> int:
        """Answers how many failed. Broken off it gives back what it has claimed."""
        errands = Errands(limit=1)
        errands.start()
        collecting = asyncio.create_task(self._collect_each(sources, errands))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, collecting.cancel)
        try:
            return await collecting
        finally:
            await errands.stop()

    async def _collect_each(self, sources: Sequence[Source], errands: Errands) -> int:
        return [await self._collect(source, errands) for source in sources].count(False)

    async def _collect(self, source: Source, errands: Errands) -> bool:
        task = await errands.begin(partial(_claim, source))
        if task is None:
            self.stderr.write(f"{source}: is being collected already")
            return False
        await asyncio.wait([task])  # which does not cancel it where we are interrupted
        found, error = task.result()
        self.stdout.write(f"{source}: {found.stored} collected")
        if text := describe(found, error):
            self.stderr.write(f"{source}: {text}")
        return error is None

    def _reencrypt(self) -> None:
        done, lost = reencrypt()
        self.stdout.write(f"{done} encrypted with the first key")
        if lost:
            raise CommandError(f"{lost} cannot be read with any of COLLECT_KEYS: give these passwords again")


@transaction.atomic
def _claim(source: Source, worker: UUID, now: datetime) -> Source | None:
    """Claim an account, due or not, with what could not be fetched there."""
    claimed = claim_one(source.pk, worker, now)
    if claimed is not None:
        try_again_now(source_ids=[source.pk], now=now)
    return claimed
