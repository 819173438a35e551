"""Deleting many rows without being in anyone's way."""

from django.db import transaction
from django.db.models import Model, QuerySet

#: Rows of one transaction, and transactions of one pruning: what is left then goes with the next one.
AT_ONCE = 500
MOST_TRANSACTIONS = 100


def delete_rows(rows: QuerySet[Model], *, most: int | None = None) -> int:
    """Delete these rows, `most` of them, in their order; answers how many. Rows that are being written stay."""
    deleted = 0
    for _ in range(MOST_TRANSACTIONS):
        wanted = AT_ONCE if most is None else min(AT_ONCE, most - deleted)
        gone = _delete(rows, wanted) if wanted > 0 else 0
        deleted += gone
        if gone < AT_ONCE:
            break
    return deleted


@transaction.atomic
def _delete(rows: QuerySet[Model], most: int) -> int:
    # Locked rows are passed over: waiting for them, in another order than their writer, could be a circle.
    pks = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:most])
    return rows.model._default_manager.filter(pk__in=pks).delete()[0] if pks else 0
