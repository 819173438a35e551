"""Who has mail here: users, domains, mailboxes; what opens them besides a password; what became of each try.

A user owns mailboxes; a mailbox is one address in one domain. Whoever gets a user gets a mailbox in the default
domain with it (`UserManager`), on every path that makes users.
"""

import secrets
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.addresses import (
    normal_address,
    normal_domain,
    normal_local_part,
    shown_domain,
    validate_domain_name,
    validate_local_part,
)
from accounts.aliases import WILDCARD, normal_targets, validate_targets
from accounts.aliases import Alias as Alias
from accounts.allowance import SentCount as SentCount
from accounts.networks import validate_network
from accounts.passwords import prepare_password
from accounts.scram import belong_to, make_verifiers

#: What fits into an integer of either database.
_MARKS = 1 << 31


class UserManager(DjangoUserManager["User"]):
    """Makes users together with their mailbox in the default domain."""

    def _create_user(self, username: str, email: str | None, password: str | None, **extra_fields: Any) -> "User":
        """Store the user and its mailbox in one transaction (called by create_user and create_superuser)."""
        if not username:
            raise ValueError("a user needs a name")
        user = self.model(username=normal_local_part(username), email=self.normalize_email(email))
        user.set_password(password)
        for name, value in extra_fields.items():
            setattr(user, name, value)
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
            user.add_default_mailbox()
        return user


class User(AbstractUser):
    """An owner of mailboxes, or an admin, or both. The name is also the local part of the first address."""

    username = models.CharField(
        _("username"),
        max_length=64,
        unique=True,
        validators=[validate_local_part],
        help_text=_("Letters, digits and . _ - +; also the name of the user's first mailbox."),
        error_messages={"unique": _("A user with that username already exists.")},
    )
    two_factor = models.BooleanField(
        _("two-factor"),
        default=False,
        help_text=_("The password opens the web pages alone; mail programs need an app password."),
    )
    combined = models.BooleanField(
        _("combined maildrop"),
        default=False,
        help_text=_("The bare user name opens all active mailboxes of the user as one; a full address opens its own."),
    )
    #: Another number with each password that is set: sessions opened by the one before end (accounts.guests). A hash
    #: that is brought up to date is no other password.
    password_mark = models.PositiveIntegerField(default=0, editable=False)
    #: Made of the password together with its hash; see accounts.scram.
    scram = models.TextField(blank=True, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    #: A password that was set and not saved yet, with its hash. Its verifiers wait until then: Django also sets
    #: passwords on users that are never saved, for their cost alone.
    _unsaved_password: tuple[str, str] | None = None

    def clean(self) -> None:
        super().clean()
        self.username = normal_local_part(self.username)

    def set_password(self, raw_password: str | None) -> None:
        """Hash a password; `save` keeps it, with its SCRAM verifiers. None: no password opens."""
        prepared = None if raw_password is None else prepare_password(raw_password)
        super().set_password(prepared)
        self.password_mark = secrets.randbelow(_MARKS)
        self._unsaved_password = None if prepared is None else (prepared, self.password)

    def set_unusable_password(self) -> None:
        """No password opens any more: a change like any other."""
        self.set_password(None)

    def check_password(self, raw_password: str | None) -> bool:
        """Whether it fits; a hash that is out of date is brought up to date then, as Django does it."""
        prepared = None if raw_password is None else prepare_password(raw_password)
        return check_password(prepared, self.password, self._hash_anew)

    def _hash_anew(self, password: str) -> None:
        mark = self.password_mark
        self.set_password(password)
        self.password_mark = mark
        self._password = None  # Django would take it for a new one
        self.save(update_fields=["password"])

    def make_verifiers(self) -> None:
        """Bring the SCRAM verifiers in line with the password hash; `save` does it, bulk writes have to."""
        if self._unsaved_password is not None:
            password, encoded = self._unsaved_password
            self._unsaved_password = None
            self.scram = make_verifiers(password, encoded)
        if not belong_to(self.scram, self.password):
            self.scram = ""

    def save(self, *args: Any, **kwargs: Any) -> None:
        fields = kwargs.get("update_fields")
        if fields is None or "password" in fields:
            self.make_verifiers()
            if fields is not None:
                kwargs["update_fields"] = {*fields, "scram", "password_mark"}
        super().save(*args, **kwargs)

    def add_default_mailbox(self) -> "Mailbox | None":
        """Give the user a mailbox in the default domain; None where there is no default domain yet."""
        domain = Domain.objects.filter(is_default=True).first()
        if domain is None:
            return None
        mailbox = Mailbox(user=self, domain=domain, local_part=self.username)
        mailbox.full_clean()
        mailbox.save()
        return mailbox


class Policies(models.Model):
    """What a domain or a mailbox may set for itself; empty is inherited (accounts.policies)."""

    expire_days = models.PositiveIntegerField(
        _("days until messages expire"), null=True, blank=True, help_text=_("0 is never; empty is inherited.")
    )
    login_delay_seconds = models.PositiveIntegerField(
        _("seconds between POP3 logins"), null=True, blank=True, help_text=_("0 is none; empty is inherited.")
    )

    class Meta:
        abstract = True


class Domain(Policies):
    """A mail domain that this platform is the final destination of."""

    name = models.CharField(_("name"), max_length=255, unique=True, validators=[validate_domain_name])
    is_default = models.BooleanField(
        _("default"), default=False, help_text=_("New users get their first mailbox here.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("domain")
        verbose_name_plural = _("domains")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=Q(is_default=True), name="accounts_domain_one_default"
            ),
        ]

    def __str__(self) -> str:
        return shown_domain(self.name)

    def clean(self) -> None:
        super().clean()
        self.name = normal_domain(self.name)


def default_quota_octets() -> int:
    return int(settings.MAIL_DEFAULT_QUOTA_OCTETS)


def default_quota_messages() -> int:
    return int(settings.MAIL_DEFAULT_QUOTA_MESSAGES)


class Mailbox(Policies):
    """One address and the mail behind it. Inactive: no login, and mail for it is refused."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="mailboxes", verbose_name=_("user"))
    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="mailboxes", verbose_name=_("domain"))
    local_part = models.CharField(_("local part"), max_length=64, validators=[validate_local_part])
    address = models.CharField(_("address"), max_length=320, unique=True, editable=False)
    quota_octets = models.PositiveBigIntegerField(
        _("quota in octets"), default=default_quota_octets, help_text=_("0 is no limit.")
    )
    quota_messages = models.PositiveBigIntegerField(
        _("quota in messages"), default=default_quota_messages, help_text=_("0 is no limit.")
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("An inactive mailbox cannot be opened and takes no mail.")
    )
    delegates = models.ManyToManyField(
        User,
        blank=True,
        related_name="delegated_mailboxes",
        verbose_name=_("delegates"),
        help_text=_("Users who may open this mailbox with their own password, by naming it at the login."),
    )
    forward_to = models.TextField(
        _("forward to"),
        blank=True,
        validators=[validate_targets],
        help_text=_("Addresses that mail is sent on to, one a line, here or elsewhere."),
    )
    keep_copy = models.BooleanField(
        _("keep a copy"), default=True, help_text=_("Mail that is forwarded stays in the mailbox too.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("mailbox")
        verbose_name_plural = _("mailboxes")
        ordering = ["address"]
        # What is in other people's mail is not a matter of who may change a quota.
        permissions = [("read_mail", _("Can read the messages in mailboxes"))]
        constraints = [
            models.UniqueConstraint(fields=["domain", "local_part"], name="accounts_mailbox_one_per_address"),
        ]

    def __str__(self) -> str:
        return self.address or f"{self.local_part}@…"

    def clean(self) -> None:
        super().clean()
        self.local_part = normal_local_part(self.local_part)
        self.forward_to = normal_targets(self.forward_to)
        if WILDCARD in self.forward_to:
            raise ValidationError({"forward_to": _("A mailbox has no * that the one here could stand for.")})
        if self.domain_id:
            self.address = normal_address(self.local_part, self.domain.name)
        if Alias.objects.filter(address=self.address).exists():
            raise ValidationError({"local_part": _("There is an alias of this address.")})

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.local_part = normal_local_part(self.local_part)
        self.address = normal_address(self.local_part, self.domain.name)
        super().save(*args, **kwargs)


class DayCount(models.Model):
    """How often something happened on a day, in all; see accounts.activity."""

    day = models.DateField()
    name = models.CharField(max_length=32)
    times = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "name"], name="accounts_daycount_one_per_day"),
        ]

    def __str__(self) -> str:
        return f"{self.times} {self.name} on {self.day}"


class AppPassword(models.Model):
    """A password for one mail program, shown once and kept as a digest; see accounts.app_passwords."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="app_passwords", verbose_name=_("user"))
    name = models.CharField(_("name"), max_length=100, help_text=_("The device or program that uses it."))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    pop3 = models.BooleanField(_("reads mail (POP3)"), default=True)
    smtp = models.BooleanField(_("sends mail (SMTP)"), default=True)
    network = models.CharField(
        _("network"),
        max_length=43,
        blank=True,
        validators=[validate_network],
        help_text=_("Opens from this network alone, such as 192.0.2.0/24; empty is from everywhere."),
    )
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    read_only = models.BooleanField(_("read only"), default=False, help_text=_("May fetch mail and delete none."))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    last_used_from = models.CharField(_("last used from"), max_length=45, blank=True, editable=False)

    class Meta:
        verbose_name = _("app password")
        verbose_name_plural = _("app passwords")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="accounts_apppassword_one_per_name"),
            models.CheckConstraint(condition=Q(pop3=True) | Q(smtp=True), name="accounts_apppassword_opens_something"),
        ]

    def __str__(self) -> str:
        return self.name


class Throttle(models.Model):
    """Failed logins of late, of one login, one network or both; shared by all workers. See accounts.throttling."""

    #: "login|network", either of them empty.
    key = models.CharField(max_length=300, unique=True)
    #: How many failures count still, at the moment of the last one; they are forgotten little by little.
    failures = models.FloatField()
    failed_at = models.DateTimeField()
    forgotten_at = models.DateTimeField()
    #: By the database's clock, for the workers that look for what is new.
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["changed_at"], name="accounts_throttle_changed"),
            models.Index(fields=["forgotten_at"], name="accounts_throttle_forgotten"),
        ]

    def __str__(self) -> str:
        return f"{self.failures:.0f} failures of {self.key}"


class KnownAddress(models.Model):
    """A network from which a login succeeded: others' failures do not close the door for it."""

    login = models.CharField(max_length=255)
    network = models.CharField(max_length=43)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["login", "network"], name="accounts_knownaddress_once"),
        ]
        indexes = [models.Index(fields=["seen_at"], name="accounts_knownaddress_seen")]

    def __str__(self) -> str:
        return f"{self.login} from {self.network}"


class LoginResult(models.TextChoices):
    """What became of a login. To the client all but the first are one and the same (promise 7)."""

    ADMITTED = "admitted", _("let in")
    UNKNOWN = "unknown", _("there is no such mailbox")
    WRONG = "wrong", _("wrong password")
    SCRAM = "scram", _("has no SCRAM verifier: to log in once by another mechanism, or to set the password, makes one")
    SUSPENDED = "suspended", _("the mailbox or its user is suspended")
    TWO_FACTOR = "two-factor", _("needs an app password, since two-factor is on")
    PROTOCOL = "protocol", _("the app password is not for this protocol")
    NETWORK = "network", _("the app password is not for this network")
    EXPIRED = "expired", _("the app password has expired")
    DELEGATION = "delegation", _("may not open the mailbox that was named")
    TOKEN = "token", _("the token is not valid here")
    THROTTLED = "throttled", _("turned away after too many failures")
    BUSY = "busy", _("turned away, too many logins at the same moment")
    ERROR = "error", _("an error of the server, see its log")

    __hash__ = str.__hash__  # as that of accounts.callers.Protocol


class LoginRecord(models.Model):
    """A try to log in; tries that are alike, within a minute or an hour, are one record. See accounts.records."""

    at = models.DateTimeField(_("time"))
    last_at = models.DateTimeField(_("last time"))
    times = models.PositiveIntegerField(_("times"), default=1)
    login = models.CharField(_("login"), max_length=255, blank=True)
    # Outlives its mailbox: the login and the address say what it was about.
    mailbox = models.ForeignKey(
        Mailbox,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        verbose_name=_("mailbox"),
    )
    protocol = models.CharField(_("protocol"), max_length=8)
    address = models.CharField(_("address"), max_length=45, blank=True)
    tls = models.CharField(_("TLS"), max_length=16, blank=True)
    mechanism = models.CharField(_("mechanism"), max_length=20, blank=True)
    result = models.CharField(_("result"), max_length=16, choices=LoginResult.choices)
    milliseconds = models.PositiveIntegerField(_("milliseconds"))
    app_password = models.CharField(_("app password"), max_length=100, blank=True)

    class Meta:
        verbose_name = _("login")
        verbose_name_plural = _("logins")
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["at"], name="accounts_loginrecord_at"),
            models.Index(fields=["mailbox", "at"], name="accounts_loginrecord_mailbox"),
            models.Index(fields=["address", "at"], name="accounts_loginrecord_address"),
            models.Index(fields=["result", "at"], name="accounts_loginrecord_result_at"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(result__in=LoginResult.values), name="accounts_loginrecord_result"),
        ]

    def __str__(self) -> str:
        return f"{self.login} from {self.address}: {self.get_result_display()}"
