"""What a press of a button on the owner's pages comes to: one domain call, one sentence, and on with a 303."""

from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404, HttpResponse

from agents.lifecycle import NameRefused, NotAllowed, NotPossible
from agents.middleware import MemberRequest
from notifications import uninstalls
from notifications.models import UninstallRequest
from platforms import access, admissions
from platforms.asks import AccessRequest, Registration
from platforms.grants import NoSuchScope


class Wrong(Exception):
    """It was done, and something is wrong with what came of it. The text is one sentence."""


def press(request: MemberRequest, *, back: str, verb: Callable[[], str | HttpResponse]) -> HttpResponse:
    """Run `verb`, say what it returns, and go `back`; what cannot be done is said there, too.

    A `verb` with an answer of its own returns that.

    Raises:
        PermissionDenied: 403, the member's role is not enough. Http404: it is not the member's owner's.
    """
    try:
        said = verb()
        if isinstance(said, HttpResponse):
            return said
        messages.success(request, said)
    except NotAllowed as error:
        raise PermissionDenied from error
    except ObjectDoesNotExist as error:
        raise Http404 from error
    except Wrong as error:
        messages.error(request, str(error))
    except (NotPossible, NoSuchScope, NameRefused) as error:
        messages.warning(request, str(error))
    except access.AlreadyAnswered as error:
        messages.warning(request, _who_was_first(error.request))
    except admissions.AlreadyDecided as error:
        messages.warning(request, _who_was_first(error.registration))
    except uninstalls.AlreadyDecided as error:
        messages.warning(request, _who_was_first(error.request))
    return see_other(back)


def see_other(path: str) -> HttpResponse:
    """303: to be fetched with GET, whatever was sent here (RFC 9110, section 15.4.4)."""
    return HttpResponse(status=303, headers={"Location": path})


def _who_was_first(row: AccessRequest | Registration | UninstallRequest) -> str:
    if not row.decided_by or row.decided_at is None:
        return "Too late: it had run out. Nothing was changed."
    return f"Already {row.get_status_display().lower()} by {row.decided_by} at {row.decided_at:%H:%M} UTC."
