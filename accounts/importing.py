"""Accounts from a table, such as a school's list or another server's: all of them, or none and every reason why not.

A row is an account; a further row with the same username gives that user further mailboxes. Reading and checking
change nothing; `store` writes everything in one transaction.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from django.contrib.auth.hashers import identify_hasher
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.addresses import normal_address, normal_local_part, normal_spelling, validate_local_part
from accounts.models import Alias, Domain, Mailbox, User, default_quota_messages, default_quota_octets

#: A plain password takes some 40 ms of a processor to hash, and the admin waits for it.
MAX_PASSWORDS = 500
MAX_ROWS = 20_000
#: Columns that are read. What an export has beyond them is passed over; anything else is taken for a mistake.
COLUMNS = (
    "username", "password", "password_hash", "domains", "quota_octets", "quota_messages", "active",
    "first_name", "last_name", "email",
)  # fmt: skip
_PASSED_OVER = ("messages", "octets", "last_login")
_MAX_ERRORS = 100
_TRUE = {"", "1", "yes", "true", "oui", "vrai"}
_FALSE = {"0", "no", "false", "non", "faux"}
#: An export puts an apostrophe before what a spreadsheet would take for a formula; it is taken off again.
_DISARMED = re.compile(r"'+[=+\-@\t\r]")
_VERBATIM = {"password", "password_hash"}
#: What a row has beyond the columns.
_BEYOND = ""
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class RowError:
    """What is wrong in a line of the file, counted from 1 with the header."""

    line: int
    text: str


@dataclass
class NewMailbox:
    """A mailbox to be: its domain is here, its address free."""

    domain: Domain
    local_part: str
    quota_octets: int
    quota_messages: int
    is_active: bool

    @property
    def address(self) -> str:
        return normal_address(self.local_part, self.domain.name)


@dataclass
class NewAccount:
    """A user to be, with its mailboxes."""

    user: User
    password: str
    mailboxes: list[NewMailbox] = field(default_factory=list)


@dataclass
class Checked:
    """What a file would do. With errors it does nothing."""

    accounts: list[NewAccount] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)

    @property
    def mailbox_count(self) -> int:
        return sum(len(account.mailboxes) for account in self.accounts)


Row = dict[str, str]


def check(content: bytes) -> Checked:
    """Read a CSV file in UTF-8, with commas, semicolons or tabs, and say what it would do, or all that is wrong."""
    checked = Checked()
    try:
        rows = list(_rows(content))
    except (ValidationError, csv.Error, UnicodeDecodeError) as error:
        text = error.messages[0] if isinstance(error, ValidationError) else _("This is not a CSV file in UTF-8.")
        return Checked(errors=[RowError(1, text)])
    if sum(bool(row["password"]) for _line, row in rows) > MAX_PASSWORDS:
        text = _("More than %(number)d plain passwords take too long to hash: split the file, or give password_hash.")
        return Checked(errors=[RowError(1, text % {"number": MAX_PASSWORDS})])
    reader = _Reader(rows)
    for line, row in rows:
        try:
            reader.add(checked, line, row)
        except ValidationError as error:
            checked.errors += [RowError(line, text) for text in error.messages]
            if len(checked.errors) >= _MAX_ERRORS:
                break
    return checked


@transaction.atomic
def store(*, accounts: Sequence[NewAccount]) -> int:
    """Write checked accounts, all or none; answers how many. Raises IntegrityError where a name was taken meanwhile."""
    plain = [account for account in accounts if account.password]
    # argon2 lets go of the interpreter's lock while it works: the threads use all processors.
    with ThreadPoolExecutor() as threads:
        list(threads.map(_set_password, plain))
    users = User.objects.bulk_create([account.user for account in accounts], batch_size=500)
    mailboxes = [
        Mailbox(
            user=user, domain=new.domain, local_part=new.local_part, address=new.address, is_active=new.is_active,
            quota_octets=new.quota_octets, quota_messages=new.quota_messages,
        )
        for user, account in zip(users, accounts, strict=True)
        for new in account.mailboxes
    ]  # fmt: skip
    Mailbox.objects.bulk_create(mailboxes, batch_size=500)
    return len(users)


def _set_password(account: NewAccount) -> None:
    account.user.set_password(account.password)
    account.user.make_verifiers()


def _rows(content: bytes) -> Iterator[tuple[int, Row]]:
    """Each row that is not empty, with the line it ends on; cells by column name, absent ones empty."""
    text = content.decode("utf-8-sig")
    if "\0" in text:
        raise ValidationError(_("This is not a CSV file in UTF-8."))
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = [name.strip().lower() for name in next(reader, [])]
    header = ["domains" if name == "address" else name for name in header]
    unknown = [name for name in header if name not in (*COLUMNS, *_PASSED_OVER)]
    if "username" not in header:
        raise ValidationError(_("The first line names the columns, and one of them is “username”."))
    if unknown or len(set(header)) < len(header):
        named = ", ".join(unknown) or ", ".join(sorted({name for name in header if header.count(name) > 1}))
        raise ValidationError(_("Unknown or repeated columns: %(names)s.") % {"names": named})
    for number, cells in enumerate(reader):
        if number >= MAX_ROWS:
            raise ValidationError(_("More than %(number)d rows: split the file.") % {"number": MAX_ROWS})
        if any(cell.strip() for cell in cells):
            given = dict(zip(header, cells, strict=False))
            row = {name: _cell(name, given.get(name, "")) for name in COLUMNS}
            yield reader.line_num, row | {_BEYOND: "".join(cells[len(header) :]).strip()}


def _cell(name: str, text: str) -> str:
    if name in _VERBATIM:
        return text
    text = text.strip()
    return text[1:] if _DISARMED.match(text) else text


class _Reader:
    """Makes accounts of rows; knows what is taken, in the database and in the rows before."""

    def __init__(self, rows: Sequence[tuple[int, Row]]) -> None:
        self.domains = {domain.name: domain for domain in Domain.objects.all()}
        self.default = next((domain for domain in self.domains.values() if domain.is_default), None)
        names = {normal_local_part(row["username"]) for _line, row in rows}
        self.taken_names = _existing(names, lambda some: User.objects.filter(username__in=some).values_list("username"))
        wanted = {address for _line, row in rows for address in self._addresses(row)}
        self.taken = _existing(wanted, lambda some: Mailbox.objects.filter(address__in=some).values_list("address"))
        self.taken |= _existing(wanted, lambda some: Alias.objects.filter(address__in=some).values_list("address"))
        self.by_name: dict[str, NewAccount] = {}

    def add(self, checked: Checked, line: int, row: Row) -> None:
        """Take one row. Raises ValidationError with all that is wrong in it."""
        name = normal_local_part(row["username"])
        errors: list[str] = []
        if row[_BEYOND]:
            errors.append(_("There are more cells than columns: a cell with a comma in it has to be in quotes."))
        account = self.by_name.get(name)
        if account is None:
            account = NewAccount(user=User(username=name), password=row["password"])
            _collect(errors, lambda: self._fill(account, row))
        elif row["password"] or row["password_hash"]:
            errors.append(_("“%(name)s” has a row above; its password stands there.") % {"name": name})
        new: list[NewMailbox] = []
        _collect(errors, lambda: new.extend(self._mailboxes(row)))
        # Even a wrong row takes its names, so that what follows is judged as if it were right.
        if name not in self.by_name:
            self.by_name[name] = account
            checked.accounts.append(account)
        account.mailboxes += new
        if errors:
            raise ValidationError(list(dict.fromkeys(errors)))  # a bad name is a bad address, too: said once

    def _fill(self, account: NewAccount, row: Row) -> None:
        user = account.user
        validate_local_part(user.username)
        if user.username in self.taken_names:
            raise ValidationError(_("The user “%(name)s” exists.") % {"name": user.username})
        user.first_name, user.last_name, user.email = row["first_name"], row["last_name"], row["email"]
        if len(user.first_name) > 150 or len(user.last_name) > 150:
            raise ValidationError(_("A name is too long."))
        if user.email:
            User._meta.get_field("email").run_validators(user.email)
        if row["password"] and row["password_hash"]:
            raise ValidationError(_("Give a password or a password_hash, not both."))
        if row["password_hash"]:
            user.password = _known_hash(row["password_hash"])
        elif row["password"]:
            validate_password(row["password"], user)
        else:
            user.set_unusable_password()

    def _mailboxes(self, row: Row) -> Iterator[NewMailbox]:
        octets = _number(row["quota_octets"], default_quota_octets())
        number = _number(row["quota_messages"], default_quota_messages())
        active = _yes_or_no(row["active"])
        for address in self._addresses(row):
            local_part, _at, name = address.rpartition("@")
            domain = self.domains.get(name)
            if domain is None:
                raise ValidationError(_("There is no domain “%(name)s” here.") % {"name": name})
            validate_local_part(local_part)
            if address in self.taken:
                raise ValidationError(_("The address %(address)s is taken.") % {"address": address})
            self.taken.add(address)
            yield NewMailbox(domain, local_part, octets, number, active)

    def _addresses(self, row: Row) -> list[str]:
        """The addresses a row asks for: of domains and addresses, or of the default domain where it names none."""
        name = normal_local_part(row["username"])
        words = row["domains"].replace(",", " ").replace(";", " ").split()
        if not words and self.default:
            words = [self.default.name]
        return [normal_spelling(word) if "@" in word else normal_address(name, word) for word in words]


def _existing(wanted: set[str], find: Callable[[list[str]], Iterable[tuple[str]]]) -> set[str]:
    """Which of `wanted` the database has, asked in parts that fit a statement."""
    listed = sorted(wanted)
    return {value for start in range(0, len(listed), 500) for (value,) in find(listed[start : start + 500])}


def _collect(errors: list[str], step: Callable[[], None]) -> None:
    try:
        step()
    except ValidationError as error:
        errors += error.messages


def _known_hash(encoded: str) -> str:
    """`encoded` if a login could verify it. The error does not repeat it."""
    try:
        hasher = identify_hasher(encoded)
        hasher.decode(encoded)
    except Exception as error:  # decoders raise what their parsing raises
        raise ValidationError(_("The password_hash is of no kind that is known here.")) from error
    if len(encoded) > 128:
        raise ValidationError(_("The password_hash is of no kind that is known here."))
    return encoded


def _number(text: str, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST))) or int(text) > _LARGEST:
        raise ValidationError(_("A quota is a whole number, 0 for no limit, not “%(text)s”.") % {"text": text[:40]})
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValidationError(_("“active” is yes or no, not “%(text)s”.") % {"text": text[:40]})
