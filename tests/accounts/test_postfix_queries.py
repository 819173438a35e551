"""The queries that docs/operations.md has Postfix ask of PostgreSQL find what our own tables hold."""

import re

import pytest
from django.db import connection

from accounts.models import Mailbox
from accounts.services import create_account, create_alias, create_domain, set_forwarding
from tests.markdown import read

pytestmark = pytest.mark.django_db


def queries() -> dict[str, str]:
    """By the file that Postfix reads them from."""
    found = re.findall(
        r"^# /etc/postfix/(\w+)\.cf:.*\nquery = ((?:.+\n)+?)(?:\n|```)", read("docs/operations.md"), re.MULTILINE
    )
    return dict(found)


def ask(name: str, key: str) -> list[str]:
    # As pgsql_table(5) does: %s is the key, quoted, and %% a percent sign.
    sql = queries()[name].replace("%%", "\0").replace("%s", key.replace("'", "''")).replace("\0", "%")
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return sorted(row[0] for row in cursor.fetchall())


def test_each_query_finds_what_is_there() -> None:
    assert set(queries()) == {"domains", "mailboxes", "aliases"}
    if connection.vendor != "postgresql":
        return  # the statements are PostgreSQL's own
    domain = create_domain(name="maison.mrs")
    for name in ("jules", "alfred", "gone"):
        create_account(username=name, password="x")
    create_alias(domain=domain, local_part="team", targets="jules@maison.mrs\nx@elsewhere.org")
    create_alias(domain=domain, local_part="*", targets="jules@maison.mrs")
    create_alias(domain=domain, local_part="shop-*", targets="jules+*@maison.mrs")
    set_forwarding(mailbox=Mailbox.objects.get(local_part="alfred"), forward_to="a@elsewhere.org\nb@elsewhere.org")
    Mailbox.objects.filter(local_part="gone").update(is_active=False)
    assert ask("domains", "Maison.mrs") == ["maison.mrs"]
    assert ask("domains", "elsewhere.org") == []
    assert ask("mailboxes", "Jules@maison.mrs") == ["jules@maison.mrs"]
    assert ask("mailboxes", "gone@maison.mrs") == []
    assert ask("aliases", "Team@maison.mrs") == ["jules@maison.mrs,x@elsewhere.org"]
    assert ask("aliases", "@maison.mrs") == ["jules@maison.mrs"]
    assert ask("aliases", "alfred@maison.mrs") == ["a@elsewhere.org,b@elsewhere.org,alfred@maison.mrs"]
    assert ask("aliases", "jules@maison.mrs") == []
    assert ask("aliases", "o'hara@maison.mrs") == []
