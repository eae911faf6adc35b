"""The table of delegates: people known by an e-mail address only, who decide through the link in a message to it."""

import uuid
from typing import ClassVar, Self

from django.db import models
from django.db.models.functions import Lower


class DelegateQuerySet(models.QuerySet["Delegate"]):
    def for_owner(self, owner: models.Model) -> Self:
        return self.filter(owner_id=owner.pk)


class Delegate(models.Model):
    """Whoever reads this mailbox decides for the owner, one call at a time, for as long as it is active."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey("agents.Owner", models.CASCADE, related_name="delegates")
    email = models.EmailField(max_length=254)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    objects: ClassVar[DelegateQuerySet] = DelegateQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint("owner", Lower("email"), name="delegate_of_owner_unique")]

    def __str__(self) -> str:
        return self.email

    @property
    def may_decide(self) -> bool:
        return self.is_active
