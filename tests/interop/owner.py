"""The owner at the pages about agents: lets programs in, grants what they ask for, issues tokens, suspends."""

import dataclasses
import re

from tests.interop.desk import Desk

INBOX = "/notifications"


class Owner(Desk):
    """An admin who also answers what agents ask for."""

    def admit(self, name: str, *grants: str) -> str:
        """Let the program in with these scopes (`platform:scope`), none of which waits for a person; the agent's id."""
        form = self.form(INBOX, about="/registrations/", ending="/approve", words=name)
        answer = self.submit(form, grant=list(grants), ask=[])
        return answer.headers["location"].split("/")[-1]

    def turn_away(self, name: str) -> None:
        form = self.form(INBOX, about="/registrations/", ending="/approve", words=name)
        self.submit(dataclasses.replace(form, action=form.action.replace("/approve", "/reject")))

    def answer_access(self, *, words: str, yes: bool) -> None:
        """Answer the wish that has these words: grant the scope without approvals, or deny it."""
        if yes:
            form = self.form(INBOX, about="/access/", ending="/approve", words=words)
            del form.fields["require_approval"]
        else:  # one that does not exist cannot be granted
            form = self.form(INBOX, about="/access/", ending="", words=words)
            form = dataclasses.replace(form, action=form.action.replace("/approve", "/deny"))
        self.submit(form)

    def let_go(self, name: str, *, yes: bool) -> None:
        """Answer the agent's wish to be uninstalled."""
        form = self.form(INBOX, about="/uninstalls/", ending="/approve", words=name)
        self.submit(form if yes else dataclasses.replace(form, action=form.action.replace("/approve", "/keep")))

    def install_token(self, agent_id: str) -> str:
        form = self.form(f"/agents/{agent_id}", ending="/install-token")
        found = re.search(r"itok_[\w-]+", self.submit(form).text)
        assert found
        return found[0]

    def suspend(self, agent_id: str) -> None:
        self.submit(self.form(f"/agents/{agent_id}", ending="/suspend"), reason="a test")

    def reactivate(self, agent_id: str) -> None:
        self.submit(self.form(f"/agents/{agent_id}", ending="/reactivate"))

    def ask_for_approval(self, agent_id: str, scope: str) -> None:
        """Let every call of the agent under this scope wait for a person."""
        self.submit(self.form(f"/agents/{agent_id}", about="/permissions/", ending="/approval", words=scope))
