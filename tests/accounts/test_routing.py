"""Where an address leads: mailboxes, aliases, details, wildcards, forwarding; loops; and in how many statements."""

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts import routing
from accounts.models import Alias, Domain, Mailbox
from accounts.routing import MAX_LEVELS, DeadEnd, Forward, Route, find_routes, may_send_from
from accounts.services import create_account, create_alias, create_domain, create_mailbox, save_alias, set_forwarding

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def domain() -> Domain:
    """maison.mrs with the mailboxes of anna and bert."""
    made = create_domain(name="maison.mrs")
    for name in ("anna", "bert"):
        create_account(username=name, password="x")
    return made


def leads_to(address: str) -> list[str] | DeadEnd:
    (found,) = find_routes([address])
    if isinstance(found, DeadEnd):
        return found
    return [box.address for box in found.mailboxes] + [forward.address for forward in found.forwards]


def alias(address: str, *targets: str, **more: bool) -> Alias:
    local_part, _, domain = address.partition("@")
    return create_alias(
        domain=Domain.objects.get(name=domain), local_part=local_part, targets="\n".join(targets), **more
    )


def mailbox(name: str) -> Mailbox:
    return Mailbox.objects.get(address=f"{name}@maison.mrs")


# --- The order ----------------------------------------------------------------------------------------------------


def test_a_mailbox_an_alias_and_nobody() -> None:
    alias("info@maison.mrs", "anna@maison.mrs", "bert@maison.mrs", "Claire@Elsewhere.org")
    assert leads_to("ANNA@Maison.mrs") == ["anna@maison.mrs"]
    assert leads_to("info@maison.mrs") == ["anna@maison.mrs", "bert@maison.mrs", "Claire@elsewhere.org"]
    assert leads_to("nobody@maison.mrs") is DeadEnd.UNKNOWN
    assert leads_to("anna@elsewhere.org") is DeadEnd.NOT_HERE
    (found,) = find_routes(["info@maison.mrs"])
    assert isinstance(found, Route)
    assert found.forwards == (Forward("Claire@elsewhere.org", "maison.mrs"),)
    assert not found.direct


def test_rfc_5233_a_detail_is_the_owners_own(settings: Settings) -> None:
    alias("info@maison.mrs", "bert@maison.mrs")
    assert leads_to("anna+shop@maison.mrs") == ["anna@maison.mrs"]
    assert leads_to("anna+shop+more@maison.mrs") == ["anna@maison.mrs"]
    assert leads_to("info+shop@maison.mrs") == ["bert@maison.mrs"]
    assert leads_to("+anna@maison.mrs") is DeadEnd.UNKNOWN
    alias("anna+list@maison.mrs", "bert@maison.mrs")  # the whole address comes first
    assert leads_to("anna+list@maison.mrs") == ["bert@maison.mrs"]
    settings.MAIL_RECIPIENT_DELIMITER = "-"
    assert leads_to("anna-shop@maison.mrs") == ["anna@maison.mrs"]
    settings.MAIL_RECIPIENT_DELIMITER = ""
    assert leads_to("anna+shop@maison.mrs") is DeadEnd.UNKNOWN


def test_what_a_star_stands_for_is_one_local_part_elsewhere_too() -> None:
    """In the envelope it would else be another's address, and whoever trusts us would relay it."""
    alias("*@maison.mrs", "*@elsewhere.org")
    alias("shop-*@maison.mrs", "x-*@elsewhere.org")
    assert leads_to("victim@other.example> x@maison.mrs") == ['"victim@other.example> x"@elsewhere.org']
    assert leads_to("shop-a,b@maison.mrs") == ['"x-a,b"@elsewhere.org']


def test_wildcards_and_the_catch_all_take_what_nobody_else_has() -> None:
    alias("*@maison.mrs", "bert@maison.mrs")
    alias("shop-*@maison.mrs", "anna+*@maison.mrs", "*@shop.example")
    assert leads_to("anna@maison.mrs") == ["anna@maison.mrs"]
    assert leads_to("anyone@maison.mrs") == ["bert@maison.mrs"]
    assert leads_to("shop-shoes@maison.mrs") == ["anna@maison.mrs", "shoes@shop.example"]
    assert leads_to("anna+x@maison.mrs") == ["anna@maison.mrs"]
    assert leads_to("anyone@elsewhere.org") is DeadEnd.NOT_HERE


def test_a_domain_can_be_another_name_of_a_domain() -> None:
    create_domain(name="villa.mrs")
    alias("*@villa.mrs", "*@maison.mrs")
    assert leads_to("anna@villa.mrs") == ["anna@maison.mrs"]
    assert leads_to("anna+x@villa.mrs") == ["anna@maison.mrs"]
    assert leads_to("nobody@villa.mrs") is DeadEnd.UNKNOWN


def test_an_inactive_alias_and_a_suspended_mailbox() -> None:
    alias("info@maison.mrs", "anna@maison.mrs", is_active=False)
    alias("both@maison.mrs", "anna@maison.mrs", "bert@maison.mrs")
    Mailbox.objects.filter(address="anna@maison.mrs").update(is_active=False)
    assert leads_to("info@maison.mrs") is DeadEnd.UNKNOWN
    assert leads_to("anna@maison.mrs") is DeadEnd.SUSPENDED
    assert leads_to("both@maison.mrs") == ["bert@maison.mrs"]


def test_rfc_5321_4_5_1_postmaster_can_be_an_alias_and_is_known_without_one() -> None:
    from accounts.models import User

    assert leads_to("postmaster@") is DeadEnd.UNKNOWN
    User.objects.create_superuser("chief", password="x")
    assert leads_to("postmaster@") == leads_to("postmaster@maison.mrs") == ["chief@maison.mrs"]
    alias("postmaster@maison.mrs", "anna@maison.mrs")
    assert leads_to("postmaster@maison.mrs") == ["anna@maison.mrs"]


# --- Forwarding -----------------------------------------------------------------------------------------------------


def test_a_mailbox_is_forwarded_with_a_copy_or_without() -> None:
    set_forwarding(mailbox=mailbox("anna"), forward_to="bert@maison.mrs, anna@elsewhere.org")
    assert leads_to("anna@maison.mrs") == ["anna@maison.mrs", "bert@maison.mrs", "anna@elsewhere.org"]
    set_forwarding(mailbox=mailbox("anna"), forward_to="anna@elsewhere.org", keep_copy=False)
    assert leads_to("anna+x@maison.mrs") == ["anna@elsewhere.org"]
    set_forwarding(mailbox=mailbox("anna"), forward_to="", keep_copy=False)
    assert leads_to("anna@maison.mrs") == ["anna@maison.mrs"]


def test_aliases_lead_on_to_aliases_and_each_end_comes_once() -> None:
    alias("staff@maison.mrs", "anna@maison.mrs", "bert@maison.mrs", "x@elsewhere.org")
    alias("info@maison.mrs", "staff@maison.mrs", "anna@maison.mrs", "X@elsewhere.org")
    assert leads_to("info@maison.mrs") == ["anna@maison.mrs", "bert@maison.mrs", "x@elsewhere.org"]


# --- Loops ----------------------------------------------------------------------------------------------------------


def test_a_loop_is_refused_when_it_is_made() -> None:
    first = alias("a@maison.mrs", "b@maison.mrs")  # b is nobody so far
    with pytest.raises(ValidationError, match="loop"):
        alias("b@maison.mrs", "c@elsewhere.org", "a@maison.mrs")
    with pytest.raises(ValidationError, match="loop"):
        alias("self@maison.mrs", "self@maison.mrs")
    with pytest.raises(ValidationError, match="loop"):
        alias("*@maison.mrs", "nobody@maison.mrs")
    with pytest.raises(ValidationError, match="loop"):
        set_forwarding(mailbox=mailbox("anna"), forward_to="anna+x@maison.mrs")
    set_forwarding(mailbox=mailbox("anna"), forward_to="a@maison.mrs")
    first.targets = "anna@maison.mrs"
    with pytest.raises(ValidationError, match="loop"):
        save_alias(alias=first)
    first.refresh_from_db()
    assert first.targets == "b@maison.mrs"
    first.targets, first.is_active = "anna@maison.mrs", False
    save_alias(alias=first)


def test_a_loop_that_came_about_is_refused_when_it_is_used() -> None:
    alias("a@maison.mrs", "b@villa.mrs", "anna@maison.mrs")
    create_domain(name="villa.mrs")
    looping = Alias(domain=Domain.objects.get(name="villa.mrs"), local_part="b", targets="a@maison.mrs")
    looping.save()  # by no service
    assert leads_to("a@maison.mrs") is leads_to("b@villa.mrs") is DeadEnd.LOOP


def test_a_way_that_is_too_long_is_refused() -> None:
    for number in range(MAX_LEVELS - 1):
        alias(f"a{number}@maison.mrs", f"a{number + 1}@maison.mrs")
    alias(f"a{MAX_LEVELS - 1}@maison.mrs", "anna@maison.mrs")
    assert leads_to("a0@maison.mrs") is DeadEnd.TOO_FAR
    assert leads_to("a1@maison.mrs") == ["anna@maison.mrs"]
    with pytest.raises(ValidationError, match="too far"):
        alias("b@maison.mrs", "a0@maison.mrs")


def test_large_aliases_that_are_asked_for_together_are_not_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, ends in (("a", 6), ("b", 6), ("c", 6), ("far", 20)):
        alias(f"{name}@maison.mrs", *(f"{name}{number}@elsewhere.org" for number in range(ends)))
    monkeypatch.setattr(routing, "MAX_STEPS", 10)
    found = find_routes(["a@maison.mrs", "far@maison.mrs", "b@maison.mrs", "nobody@maison.mrs", "c@maison.mrs"])
    assert [len(route.forwards) if isinstance(route, Route) else route for route in found] == [
        6,
        DeadEnd.TOO_FAR,
        6,
        DeadEnd.UNKNOWN,
        6,
    ]


# --- Statements ---------------------------------------------------------------------------------------------------


def test_plain_mailboxes_are_one_statement_however_many() -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(find_routes(["anna@maison.mrs", "bert@maison.mrs"] * 50)) == 100
    assert len(queries) == 1


def test_each_level_is_a_few_statements_however_many_are_asked_for() -> None:
    user = create_account(username="carl", password="x")
    for number in range(20):
        create_mailbox(user=user, domain=Domain.objects.get(), local_part=f"box{number}")
        alias(f"a{number}@maison.mrs", f"b{number}@maison.mrs")
        alias(f"b{number}@maison.mrs", f"box{number}@maison.mrs")
    alias("*@maison.mrs", "anna@maison.mrs")
    wanted = [f"{kind}{number}@maison.mrs" for kind in ("a", "c", "box") for number in range(20)]
    with CaptureQueriesContext(connection) as queries:
        found = find_routes(wanted)
    assert [type(route) for route in found] == [Route] * 60
    assert len(queries) <= 4 + 2 + 1


# --- Who may send from an address -----------------------------------------------------------------------------------


def may_send(name: str) -> list[str]:
    """Those of some addresses that a user may send from."""
    addresses = [
        *("anna@maison.mrs", "Anna+X@Maison.mrs", "bert@maison.mrs", "info@maison.mrs", "quiet@maison.mrs"),
        *("shop-a@maison.mrs", "any@maison.mrs", "boss@maison.mrs", "x@elsewhere.org", "nobody@villa.mrs", "", "anna"),
    ]
    user = Mailbox.objects.get(address=f"{name}@maison.mrs").user_id
    return [address for address, may in zip(addresses, may_send_from(user, addresses), strict=True) if may]


def test_a_user_sends_from_mailboxes_details_and_aliases_of_theirs() -> None:
    create_domain(name="villa.mrs")
    create_account(username="boss", password="x")
    set_forwarding(mailbox=mailbox("boss"), forward_to="anna@maison.mrs", keep_copy=False)
    alias("info@maison.mrs", "group@maison.mrs", "x@elsewhere.org")
    alias("group@maison.mrs", "anna@maison.mrs", "bert@maison.mrs")
    alias("quiet@maison.mrs", "anna@maison.mrs", may_send=False)
    alias("shop-*@maison.mrs", "anna+*@maison.mrs")
    alias("*@maison.mrs", "bert@maison.mrs")
    assert may_send("anna") == ["anna@maison.mrs", "Anna+X@Maison.mrs", "info@maison.mrs", "shop-a@maison.mrs"]
    assert may_send("bert") == ["bert@maison.mrs", "info@maison.mrs", "any@maison.mrs"]
    # What a mailbox forwards makes nobody its sender, and its owner stays it.
    assert may_send("boss") == ["boss@maison.mrs"]
    mailbox("boss").delegates.add(mailbox("anna").user)
    assert "boss@maison.mrs" in may_send("anna")
    Alias.objects.filter(local_part="group").update(may_send=False)
    assert "info@maison.mrs" not in may_send("anna")
    Mailbox.objects.filter(address="anna@maison.mrs").update(is_active=False)
    assert may_send("anna") == ["boss@maison.mrs"]
