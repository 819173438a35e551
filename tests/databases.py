"""The database of the tests in this process: a copy of the suite's template, emptied after each test that commits."""

import functools
import os
import shutil
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection, transaction

from tests.run import TEMPLATE

#: What migrations have put into them stays. To make all permissions anew takes longer than most tests.
KEPT = {"django_content_type", "auth_permission"}


@functools.cache
def _which_hold_rows() -> str:
    """A statement that tells the tables in which there is something."""
    found = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return " UNION ALL ".join(
        f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})"  # noqa: S608 - names of models' tables
        for table in sorted(set(found) - KEPT)
    )


def empty(test: object) -> None:
    """Take all rows out. Django's flush truncates every table there is, which costs PostgreSQL 40 ms, and fills some."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_which_hold_rows())
        for (table,) in cursor.fetchall():  # foreign keys are looked at when the transaction ends
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608


def copy_template() -> bool:
    """Have the database that is about to be made be a copy of the template. Whether it is there already."""
    url, test = os.environ.get(TEMPLATE, ""), settings.DATABASES["default"]["TEST"]
    if url.startswith("sqlite"):
        shutil.copyfile(url.removeprefix("sqlite:///"), test["NAME"])
        return True
    if url:
        test["TEMPLATE"] = urlsplit(url).path[1:]
    return False
