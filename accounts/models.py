"""Who has mail here: users, domains, mailboxes.

A user owns mailboxes; a mailbox is one address in one domain. Whoever gets a user gets a mailbox in the default
domain with it (`UserManager`), on every path that makes users.
"""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.addresses import normal_address, validate_domain_name, validate_local_part


class UserManager(DjangoUserManager["User"]):
    """Makes users together with their mailbox in the default domain."""

    def _create_user(self, username: str, email: str | None, password: str | None, **extra_fields: Any) -> "User":
        """Store the user and its mailbox in one transaction (called by create_user and create_superuser)."""
        if not username:
            raise ValueError("a user needs a name")
        user = self.model(
            username=username.lower(), email=self.normalize_email(email), password=make_password(password)
        )
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

    objects: ClassVar[UserManager] = UserManager()

    def clean(self) -> None:
        super().clean()
        self.username = self.username.lower()

    def add_default_mailbox(self) -> "Mailbox | None":
        """Give the user a mailbox in the default domain; None where there is no default domain yet."""
        domain = Domain.objects.filter(is_default=True).first()
        if domain is None:
            return None
        mailbox = Mailbox(user=self, domain=domain, local_part=self.username)
        mailbox.full_clean()
        mailbox.save()
        return mailbox


class Domain(models.Model):
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
        return self.name

    def clean(self) -> None:
        super().clean()
        self.name = self.name.lower()


def default_quota_octets() -> int:
    return int(settings.MAIL_DEFAULT_QUOTA_OCTETS)


def default_quota_messages() -> int:
    return int(settings.MAIL_DEFAULT_QUOTA_MESSAGES)


class Mailbox(models.Model):
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
        self.local_part = self.local_part.lower()
        if self.domain_id:
            self.address = normal_address(self.local_part, self.domain.name)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.local_part = self.local_part.lower()
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
