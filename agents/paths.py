"""How an agent is named in the address of a page."""

from django.urls.converters import StringConverter


class AgentId(StringConverter):
    """agt_…, and nothing that the database would choke on."""

    regex = "agt_[0-9A-Za-z]{1,36}"
