"""The one line of a payload on a closed card: its beginning, with words for the secrets in it."""

from agents.masking import Secret, in_form, said_masked, without
from approvals.json_secrets import value_of
from approvals.payload_kinds import Kind
from approvals.payload_rows import escaped, json_tokens

SUMMARY_LENGTH = 140  # characters


def first_line(body: str, kind: Kind) -> tuple[str, bool]:
    """The beginning of `body` on one line, not yet revealed, and whether that is less than all of it."""
    if kind == Kind.FORM:
        head = body[: 4 * SUMMARY_LENGTH]
        shown = without(head, in_form(head))
        return shown[:SUMMARY_LENGTH], len(head) < len(body) or len(shown) > SUMMARY_LENGTH
    if kind != Kind.JSON:
        line = body[: SUMMARY_LENGTH + 1].partition("\n")[0][:SUMMARY_LENGTH]
        return line, len(line) < len(body)
    shown, said = "", Secret(0, 0, 0)
    for symbol, _, secret in json_tokens(body):
        if secret is not None and not secret.parts:
            shown += f"({said_masked(secret.length)})" if secret != said else ""
            said = secret
        elif (value := value_of(symbol)) is not None:
            value = without(value, secret.parts) if secret else value
            shown += f'"{escaped(value[: SUMMARY_LENGTH + 1])}"'
        else:
            shown += f"{symbol} " if symbol in {",", ":"} else symbol[: SUMMARY_LENGTH + 1]
        if len(shown) > SUMMARY_LENGTH:
            return shown[:SUMMARY_LENGTH], True
    return shown, False
