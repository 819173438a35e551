"""`dkimkey`: the DKIM keys of a domain, and the DNS records to publish for them."""

import asyncio
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from accounts.addresses import normal_domain
from accounts.models import Domain
from mailplatform.management.base import MailCommand
from smtpservice.dkim_keys import is_published, make_key, record_of, sign_with
from smtpservice.models import DkimKey
from smtpservice.relay.routes import RouteError, Router

ALGORITHMS = {"rsa": DkimKey.Algorithm.RSA, "ed25519": DkimKey.Algorithm.ED25519}


class Command(MailCommand):
    help = "Show a domain's DKIM keys and their DNS records; make one, have it sign, or remove it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("domain", help="a domain of this platform")
        parser.add_argument("--selector", default="", help="with --make: its name; by default it is made of the day")
        parser.add_argument("--unchecked", action="store_true", help="with --sign-with: do not ask the DNS first")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--make", choices=ALGORITHMS, help="make a key, which does not sign yet")
        what.add_argument("--sign-with", metavar="SELECTOR", help="sign with this key, once its record is published")
        what.add_argument("--remove", metavar="SELECTOR", help="forget a key that does not sign")

    def handle(self, *args: Any, **options: Any) -> None:
        domain = Domain.objects.filter(name=normal_domain(options["domain"])).first()
        if domain is None:
            raise CommandError(f"{options['domain']} is not a domain of this platform; see adddomain.")
        if options["make"]:
            self._make(domain, ALGORITHMS[options["make"]], options["selector"])
        elif options["sign_with"]:
            self._sign_with(_key(domain, options["sign_with"]), unchecked=options["unchecked"])
        elif options["remove"]:
            self._remove(_key(domain, options["remove"]))
        else:
            self._show(domain)

    def _make(self, domain: Domain, algorithm: DkimKey.Algorithm, selector: str) -> None:
        try:
            key = make_key(domain=domain, algorithm=algorithm, selector=selector)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        self.stdout.write(f"Publish this record, then: dkimkey {domain} --sign-with {key.selector}\n\n")
        self.stdout.write(f"{record_of(key)}\n")

    def _sign_with(self, key: DkimKey, *, unchecked: bool) -> None:
        record = record_of(key)
        if not unchecked:
            try:
                published = is_published(key, asyncio.run(_texts(record.name)))
            except RouteError as error:
                raise CommandError(f"The DNS does not answer for {record.name}: {error}") from error
            if not published:
                raise CommandError(f"Not in the DNS yet, where it would be:\n\n{record}\n")
        sign_with(key=key)
        self.stdout.write(f"Mail of {key.domain} is signed by {key.selector} ({key.algorithm}).\n")

    def _remove(self, key: DkimKey) -> None:
        if key.signs:
            raise CommandError(f"{key.selector} signs: have another key sign first.")
        key.delete()
        self.stdout.write(f"{key.selector} is forgotten; take its record out of the DNS.\n")

    def _show(self, domain: Domain) -> None:
        keys = list(DkimKey.objects.filter(domain=domain).select_related("domain"))
        if not keys:
            self.stdout.write(
                f"{domain} has no key, and its mail is not signed. Make one: dkimkey {domain} --make rsa\n"
            )
        for key in keys:
            state = "signs" if key.signs else "does not sign"
            self.stdout.write(f"; {key.selector}, {key.algorithm}, made {key.created_at:%Y-%m-%d}, {state}\n")
            self.stdout.write(f"{record_of(key)}\n")


def _key(domain: Domain, selector: str) -> DkimKey:
    key = DkimKey.objects.select_related("domain").filter(domain=domain, selector=selector.lower()).first()
    if key is None:
        raise CommandError(f"{domain} has no key {selector}.")
    return key


async def _texts(name: str) -> list[str]:
    return await Router(name_servers=settings.RELAY_NAME_SERVERS, ourselves=settings.MAIL_HOSTNAME).texts(name)
