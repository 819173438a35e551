"""What the demo of `make run` holds: an admin, two domains, three accounts, and the letters they wrote each other.

Everything here may be called again: what is there stays as it is.
"""

import json
import secrets
import smtplib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import localtime, make_msgid
from pathlib import Path

from django.db import transaction

from accounts.models import Domain, Mailbox, User
from accounts.services import create_account, create_domain
from mailstore.models import Maildrop

JULES, ALFRED = "jules.maison.mrs", "alfred.maison.mrs"
ADMIN = "admin"
#: Account -> the domains it has a mailbox in; the first domain of all is the default.
ACCOUNTS: Mapping[str, tuple[str, ...]] = {"jules": (JULES,), "alfred": (ALFRED,), "charles": (JULES, ALFRED)}


@dataclass(frozen=True, slots=True)
class Login:
    """A login as the screen shows it; no password where it is not the one that was made for the demo."""

    name: str
    password: str | None


def kept_passwords(path: Path) -> dict[str, str]:
    """The password of each account of the demo: made once, then kept in a file that only its owner reads."""
    try:
        kept: dict[str, str] = json.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        kept = {name: secrets.token_hex(6) for name in (ADMIN, *ACCOUNTS)}
        path.touch(mode=0o600)
        path.write_text(json.dumps(kept, indent=1), encoding="ascii")
    return kept


@transaction.atomic
def create_demo(*, passwords: Mapping[str, str]) -> None:
    """Add the domains, the admin and the accounts that are not there yet."""
    for name in (JULES, ALFRED):
        if not Domain.objects.filter(name=name).exists():
            create_domain(name=name)
    domains = Domain.objects.in_bulk((JULES, ALFRED), field_name="name")
    if not User.objects.filter(username=ADMIN).exists():
        User.objects.create_superuser(ADMIN, password=passwords[ADMIN])
    for name, names in ACCOUNTS.items():
        if not User.objects.filter(username=name).exists():
            own = [domains[each] for each in names]
            create_account(username=name, password=passwords[name], domains=own, combined=len(own) > 1)


def admin_login(passwords: Mapping[str, str]) -> Login:
    return Login(ADMIN, _still(User.objects.filter(username=ADMIN).first(), passwords[ADMIN]))


def mail_logins(passwords: Mapping[str, str]) -> list[Login]:
    """The mailboxes that the accounts of the demo have now, each with its user's password."""
    users = User.objects.in_bulk(ACCOUNTS, field_name="username")
    known = {name: _still(user, passwords[name]) for name, user in users.items()}
    mailboxes = Mailbox.objects.filter(user__username__in=known).order_by("pk")
    return [Login(address, known[name]) for address, name in mailboxes.values_list("address", "user__username")]


def _still(user: User | None, password: str) -> str | None:
    return password if user is not None and user.check_password(password) else None


def letters_were_sent() -> bool:
    """Did a mailbox of the demo ever get mail? Then the letters are not sent again, even if all was deleted."""
    return Maildrop.objects.filter(mailbox__user__username__in=ACCOUNTS, next_uid__gt=1).exists()


def send_letters(*, port: int) -> None:
    """Send the letters through the SMTP server on this port of 127.0.0.1, as any mail program would."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as server:
        for letter in _letters():
            server.send_message(letter)


def _letters() -> Iterator[EmailMessage]:
    jules, alfred = f"Jules <jules@{JULES}>", f"Alfred <alfred@{ALFRED}>"
    charles_there, charles_here = f"Charles <charles@{ALFRED}>", f"Charles <charles@{JULES}>"

    keys = _letter(
        alfred, charles_there, "The keys", "The keys are with the neighbour, under the blue pot.\n\nAlfred\n"
    )
    yield keys

    lunch = _letter(jules, f"{charles_here}, {alfred}", "Déjeuner dimanche ?", _LUNCH)
    lunch.add_attachment("for,how many\nbouillabaisse,6\nnavettes,24\n", subtype="csv", filename="shopping.csv")
    yield lunch

    answer = _letter(
        charles_here, f"{jules}, {alfred}", "Re: Déjeuner dimanche ?", "Yes! I bring the bread.\n\nCharles\n"
    )
    answer["In-Reply-To"] = answer["References"] = lunch["Message-ID"]
    yield answer

    news = _letter(
        alfred, f"{jules}, {charles_there}", "A new house", "You write to both houses, and read from either.\n"
    )
    news.add_alternative("<p>You write to <b>both</b> houses, and read from either.</p>\n", subtype="html")
    yield news

    yield _letter(
        jules, f"{charles_here}, {charles_there}", "Dots", "A line that is only a dot ends nothing:\n.\n...\nSee?\n"
    )


_LUNCH = """Chers tous,

On se retrouve dimanche à la maison, côté jardin, dès midi et demi ? La liste est jointe.

À bientôt,
Jules
"""


def _letter(sender: str, recipients: str, subject: str, text: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"] = sender
    letter["To"] = recipients
    letter["Subject"] = subject
    letter["Date"] = localtime()
    letter["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip(">"))
    letter.set_content(text)
    return letter
