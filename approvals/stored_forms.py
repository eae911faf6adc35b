"""How many of the stored calls a page with many rows reads: bounded, whatever agents pile up."""

from approvals.models import ApprovalRequest

MOST_BYTES = 128 * 1024  # of calls on one page, as stored; the rest is read, and decided on, one page each
LONG_COLUMNS = ("form", "result_json", "disclosure", "seal")


def read_forms(rows: list[ApprovalRequest]) -> None:
    """Read as many calls as there is room for, the shortest first: a long one takes no room from others.

    Each row has its `form_size`; one query.
    """
    room, within = MOST_BYTES, []
    for size, pk in sorted((row.form_size, row.pk) for row in rows):  # type: ignore[attr-defined]  # annotated above
        room -= size
        if room < 0:
            break
        within.append(pk)
    forms = dict(ApprovalRequest.objects.filter(pk__in=within).values_list("pk", "form"))
    for row in rows:
        if row.pk in forms:
            row.form = forms[row.pk]
