"""Which scopes demand a passkey of whoever decides, now."""

from uuid import UUID

from platforms.models import Scope, StepUp


def demands_passkey(*, owner_id: UUID, platform: str, scope: str) -> bool:
    """Also for a denial. A scope that is gone demands nothing: its calls cannot run."""
    scopes = Scope.objects.filter(platform__owner_id=owner_id, platform__slug=platform, name=scope)
    return scopes.filter(step_up=StepUp.PASSKEY).exists()


def scopes_that_demand(*, owner_id: UUID) -> set[tuple[str, str]]:
    """Platform and scope of each."""
    scopes = Scope.objects.filter(platform__owner_id=owner_id, step_up=StepUp.PASSKEY)
    return set(scopes.values_list("platform__slug", "name"))
