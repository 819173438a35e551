"""The intake on the test's database, and what it has stored."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from accounts.models import Domain, Mailbox
from accounts.services import create_account, create_domain
from mailplatform.bridge import Bridge
from mailstore.browse import read_message
from mailstore.models import Content, Message
from smtpservice import commands
from smtpservice.commands import Mail, RefusedError
from smtpservice.intake import LocalIntake
from smtpservice.replies import Reply
from smtpservice.requests import Deliver, FindRecipients, Service
from smtpservice.storing import Accepted
from tests.mailstore.mailboxes import body_of
from tests.smtpservice.serving import HOST, run

T = TypeVar("T")


def make_mailbox(address: str, **limits: int) -> int:
    """A mailbox and its id; the first domain is the default one."""
    local_part, _, name = address.partition("@")
    domain = Domain.objects.filter(name=name).first() or create_domain(name=name)
    user = create_account(username=local_part, password="x", domains=[domain])
    user.mailboxes.update(**limits)
    return Mailbox.objects.get(address=address).id


def with_intake(use: Callable[[LocalIntake], Awaitable[T]]) -> T:
    """Have `use` called with an intake whose threads and connections are gone afterwards."""

    async def main() -> T:
        bridge = Bridge(threads=2)
        try:
            return await use(LocalIntake(bridge, hostname=HOST))
        finally:
            await bridge.close()

    return run(main())


async def ask(
    intake: LocalIntake, paths: Sequence[str], *, size: int = 0, submitter: object = None
) -> list[Accepted | Reply]:
    """What RCPT TO is answered for each of these paths, all in one group."""
    asked: list[commands.Address | Reply] = []
    for path in paths:
        try:
            asked.append(commands.recipient(f"TO:{path}"))
        except RefusedError as error:
            asked.append(error.reply)
    found = iter(
        await intake.find(FindRecipients([item for item in asked if not isinstance(item, Reply)], size, submitter))
    )
    return [item if isinstance(item, Reply) else next(found) for item in asked]


async def send(
    intake: LocalIntake,
    message: bytes,
    recipients: Sequence[Accepted | Reply],
    *,
    service: Service = Service.SMTP,
    sender: str = "a@example.org",
    size: int = 0,
    submitter: object = None,
    client_address: str = "192.0.2.1",
    **mail: Any,
) -> list[Reply]:
    """Deliver a message to recipients that were found."""
    found = [recipient for recipient in recipients if not isinstance(recipient, Reply)]
    assert len(found) == len(recipients)
    request = Deliver("laptop.example", "ESMTPS", Mail(sender, size, **mail), found, submitter)
    with body_of(message) as body:
        return await intake.deliver(request, body, service=service, client_address=client_address)


def stored(address: str) -> list[bytes]:
    """The messages of a mailbox, with their trace headers."""
    mailbox = Mailbox.objects.get(address=address)
    uids = Message.objects.filter(mailbox_id=mailbox.id).order_by("uid").values_list("uid", flat=True)
    return [b"".join(read_message(mailbox.id, uid)) for uid in uids]


def assert_nothing_is_stored() -> None:
    assert not Message.objects.exists()
    assert not Content.objects.exists()
