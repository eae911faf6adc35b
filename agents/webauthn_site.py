"""What passkeys are bound to: relying party id and origin, both out of AGENTVALET_PUBLIC_URL, never a header."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings

RP_NAME = "AgentValet"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def rp_id() -> str:
    """The host of the public URL."""
    return urlsplit(settings.PUBLIC_URL).hostname or ""


def origin() -> str:
    """The public URL as browsers write an origin: lower case, without the port that the scheme stands for."""
    parts = urlsplit(settings.PUBLIC_URL)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def is_possible() -> bool:
    """Whether passkeys can work here: no browser takes an IP address for a relying party."""
    try:
        ip_address(rp_id())
    except ValueError:
        return True
    return False
