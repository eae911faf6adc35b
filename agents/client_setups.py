"""What somebody copies to connect an agent, for each published client.

The texts are those of docs/agents.md, word for word, with its address and its code; that page is run as it stands
(tests/interop/test_docs.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

SERVER, CODE = "http://localhost:8080", "bsec_…"

PYTHON = """\
python3 -m venv agent && agent/bin/pip install agentvalet
agent/bin/agentvalet register --code bsec_… --proxy-url http://localhost:8080
"""
CREW = """\
agent/bin/pip install crewai-agentvalet
"""
CLAUDE_CODE = """\
claude mcp add agentvalet --env PROXY_URL=http://localhost:8080 --env INVITE_BIND_SECRET=bsec_… -- npx -y @agentvalet/mcp-server
"""  # noqa: E501
HOST_FILE = """\
{
  "mcpServers": {
    "agentvalet": {
      "command": "npx",
      "args": ["-y", "@agentvalet/mcp-server"],
      "env": {"PROXY_URL": "http://localhost:8080", "INVITE_BIND_SECRET": "bsec_…"}
    }
  }
}
"""
CURL_BIND = r"""export PROXY_URL=http://localhost:8080
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out agent.key 2>/dev/null
public=$(openssl pkey -in agent.key -pubout | awk '{printf "%s\\n", $0}')
curl -sS "$PROXY_URL/v1/invites/bind" -H 'Content-Type: application/json' \
  -d "{\"bind_secret\": \"bsec_…\", \"public_key_pem\": \"$public\"}" | tee identity.json
"""
CURL_SIGN = r"""export PROXY_URL=http://localhost:8080
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" identity.json; }
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

now=$(date +%s)
head=$(printf '{"alg":"RS256"}' | base64url)
claims=$(printf '{"agent_id":"%s","owner_id":"%s","iat":%d,"exp":%d}' \
  "$(field agent_id)" "$(field owner_id)" "$now" "$((now + 60))" | base64url)
token=$head.$claims.$(printf %s "$head.$claims" | openssl dgst -sha256 -sign agent.key | base64url)

curl -sS "$PROXY_URL/v1/agent/permissions" -H "Authorization: Bearer $token"
"""

_NODE = "It needs Node.js 18 or later. Its first start uses the code up and keeps the identity in ~/.agentvalet."
_FILE = "Where the file names servers already, add agentvalet to them."


@dataclass(frozen=True, slots=True)
class Block:
    """One text to copy, and what it does."""

    does: str
    text: str


@dataclass(frozen=True, slots=True)
class Setup:
    """How one client is connected. `id` is a word for the page."""

    id: str
    client: str
    blocks: Sequence[Block]
    note: str


_REGISTER = Block("Install the client and trade the code for a key", PYTHON)
SETUPS = (
    Setup(
        "python",
        "Python",
        [_REGISTER],
        "In any folder but a clone of this server, whose package has the same name. The identity is kept in"
        " ~/.agentvalet: AgentValet.from_env() finds it in what agent/bin/python runs.",
    ),
    Setup("claude-code", "Claude Code", [Block("Add the MCP server", CLAUDE_CODE)], f"Restart Claude Code. {_NODE}"),
    Setup(
        "claude-desktop",
        "Claude Desktop",
        [Block("claude_desktop_config.json: Settings → Developer → Edit Config", HOST_FILE)],
        f"{_FILE} Restart Claude Desktop. {_NODE}",
    ),
    Setup("cursor", "Cursor", [Block("~/.cursor/mcp.json", HOST_FILE)], f"{_FILE} Restart Cursor. {_NODE}"),
    Setup(
        "crewai",
        "CrewAI",
        [_REGISTER, Block("Install the tools", CREW)],
        "governed_tools() of crewai_agentvalet then gives a crew one tool for each platform.",
    ),
    Setup(
        "curl",
        "curl",
        [
            Block("Make a key and trade the code for an identity", CURL_BIND),
            Block("Sign in for a minute, and ask what the agent may do", CURL_SIGN),
        ],
        "Every request carries such a token; the Agent API says what else can be asked.",
    ),
)


def setups_for(*, server: str, code: str) -> list[Setup]:
    """All of them, with the address of this server and this code in place."""
    return [
        Setup(
            setup.id,
            setup.client,
            [Block(block.does, _filled_in(block.text, server, code)) for block in setup.blocks],
            setup.note,
        )
        for setup in SETUPS
    ]


def _filled_in(text: str, server: str, code: str) -> str:
    """Without the line break at its end: pasted, the last command waits for a person."""
    return text.rstrip("\n").replace(SERVER, server).replace(CODE, code)
