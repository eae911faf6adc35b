"""The links that delegates were sent. Of a link only the hash is kept: it is in one mailbox, and nowhere else."""

from django.db import models

VIA = "magic_link"


class MagicLink(models.Model):
    """One link in one message. A message that had to be sent twice has two; the row they decide on is decided once."""

    approval = models.ForeignKey("approvals.ApprovalRequest", models.CASCADE, related_name="links")
    delegate = models.ForeignKey("agents.Delegate", models.CASCADE, related_name="links")
    token_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256; the token itself is not kept")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"link of {self.delegate_id} to {self.approval_id}"
