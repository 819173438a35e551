"""Keys are made, published, put to use one at a time, and taken away; the command says what to publish."""

from collections.abc import Callable
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from accounts.models import Domain
from accounts.services import create_domain
from smtpservice.dkim_keys import Record, is_published, make_key, record_of, sign_with
from smtpservice.management.commands import dkimkey
from smtpservice.models import DkimKey

pytestmark = pytest.mark.django_db
RSA, ED25519 = DkimKey.Algorithm.RSA, DkimKey.Algorithm.ED25519


@pytest.fixture
def domain() -> Domain:
    return create_domain(name="maison.mrs")


@pytest.fixture
def in_dns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The TXT records that the command finds, by name."""
    records: dict[str, list[str]] = {}

    async def texts(name: str) -> list[str]:
        return records.get(name, [])

    monkeypatch.setattr(dkimkey, "_texts", texts)
    return records


def ran(*arguments: str) -> str:
    output = StringIO()
    call_command("dkimkey", *arguments, stdout=output)
    return output.getvalue()


def test_a_key_does_not_sign_until_it_is_told_to(domain: Domain) -> None:
    first, second = (make_key(domain=domain, algorithm=ED25519) for _ in range(2))
    assert first.selector != second.selector
    assert not DkimKey.objects.filter(signs=True).exists()
    sign_with(key=first)
    sign_with(key=second)
    assert DkimKey.objects.get(signs=True) == second


def test_one_key_of_each_algorithm_signs(domain: Domain) -> None:
    for algorithm in (RSA, ED25519):
        sign_with(key=make_key(domain=domain, algorithm=algorithm))
    assert DkimKey.objects.filter(signs=True).count() == 2


def test_a_selector_is_a_name_and_is_there_once(domain: Domain) -> None:
    make_key(domain=domain, algorithm=ED25519, selector="Mail")
    for selector in ("mail", "no name"):
        with pytest.raises(ValidationError):
            make_key(domain=domain, algorithm=ED25519, selector=selector)


def test_rfc_1035_3_3_a_long_record_is_written_in_strings_of_255(domain: Domain) -> None:
    record = record_of(make_key(domain=domain, algorithm=RSA, selector="s"))
    assert record.name == "s._domainkey.maison.mrs"
    assert record.text.startswith("v=DKIM1; k=rsa; p=MIIBIjANBg")
    strings = str(record).split('"')[1::2]
    assert "".join(strings) == record.text
    assert max(len(string) for string in strings) == 255
    assert str(Record("a.example", "x")) == 'a.example. IN TXT ( "x" )'


def test_a_record_is_recognized_however_it_is_written(domain: Domain) -> None:
    key, other = (make_key(domain=domain, algorithm=ED25519) for _ in range(2))
    text = record_of(key).text
    assert is_published(key, ["v=spf1 -all", text.replace("; ", ";").replace("p=", "p= ")])
    assert not is_published(other, [text])
    assert not is_published(key, [])


def test_the_command_from_a_new_key_to_its_end(domain: Domain, in_dns: dict[str, list[str]]) -> None:
    assert "its mail is not signed" in ran("maison.mrs")
    assert "maison.mrs --sign-with first" in ran("maison.mrs", "--make", "ed25519", "--selector", "first")
    with pytest.raises(CommandError, match="Not in the DNS yet"):
        ran("maison.mrs", "--sign-with", "first")
    in_dns["first._domainkey.maison.mrs"] = [record_of(DkimKey.objects.get()).text]
    assert "is signed by first" in ran("maison.mrs", "--sign-with", "FIRST")
    with pytest.raises(CommandError, match="have another key sign first"):
        ran("maison.mrs", "--remove", "first")
    ran("maison.mrs", "--make", "ed25519", "--selector", "second")
    ran("maison.mrs", "--sign-with", "second", "--unchecked")
    shown = ran("MAISON.MRS")
    assert "; second, ed25519-sha256" in shown
    assert shown.count(", signs\n") == 1
    assert shown.count("._domainkey.maison.mrs. IN TXT") == 2
    assert "take its record out" in ran("maison.mrs", "--remove", "first")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.mrs"], "not a domain of this platform"),
        (["maison.mrs", "--remove", "x"], "has no key x"),
        (["maison.mrs", "--make", "ed25519", "--selector", "a b"], "not a domain name"),
    ],
)
def test_what_cannot_be_done_is_said(domain: Domain, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        ran(*arguments)


def test_a_dns_that_is_away_is_said(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    async def texts(name: str) -> list[str]:
        raise dkimkey.RouteError(dkimkey_reply)

    from smtpservice.relay.outcomes import PeerReply

    dkimkey_reply = PeerReply(451, "4.4.3", "away")
    monkeypatch.setattr(dkimkey, "_texts", texts)
    make_key(domain=domain, algorithm=ED25519, selector="s")
    with pytest.raises(CommandError, match="does not answer"):
        ran("maison.mrs", "--sign-with", "s")


def test_the_private_half_is_never_shown(domain: Domain) -> None:
    shown: Callable[[], str] = lambda: ran("maison.mrs")  # noqa: E731
    for algorithm in ("rsa", "ed25519"):
        ran("maison.mrs", "--make", algorithm)
    for key in DkimKey.objects.all():
        assert key.private_key.splitlines()[-2 if key.algorithm == RSA else 0] not in shown()
