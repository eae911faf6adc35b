"""The agent API before there is an identity: binding a key to an invite or to an install token."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.enrolment import InviteGone, bind
from agents.errors import ApiError
from agents.fields import Text
from agents.http import stamped
from agents.keys import MAX_PEM_LENGTH, KeyRefused
from agents.models import InviteKind
from agents.permissions import AnonymousView
from agents.throttling import check_anonymous

_GONE = {
    InviteKind.BIND: "This code is unknown, used or older than 30 minutes: ask the owner for a new one.",
    InviteKind.INSTALL: "This install token is invalid, used or expired (30 minutes): ask the owner for a new one.",
}


class BindInput(serializers.Serializer[None]):
    """`POST /v1/invites/bind`"""

    bind_secret = Text(max_length=200)
    public_key_pem = Text(max_length=MAX_PEM_LENGTH, trim_whitespace=False)


class InstallInput(serializers.Serializer[None]):
    """`POST /v1/agents/bind`"""

    bootstrap_token = Text(max_length=200)
    public_key_pem = Text(max_length=MAX_PEM_LENGTH, trim_whitespace=False)


class BindOutput(serializers.Serializer[None]):
    agent_id = serializers.CharField()
    owner_id = serializers.UUIDField()
    proxy_url = serializers.URLField(help_text="Where the agent sends its calls from now on")
    status = serializers.CharField()


class PingInput(serializers.Serializer[None]):
    """`POST /v1/bind-secret`"""

    agent_id = Text(required=False)
    owner_id = Text(required=False)


class PingOutput(serializers.Serializer[None]):
    ok = serializers.BooleanField()


class InviteBindView(AnonymousView):
    """`POST /v1/invites/bind`: one use, 30 minutes. The private key never leaves the agent's machine."""

    @extend_schema(request=BindInput, responses={200: BindOutput})
    def post(self, request: Request) -> Response:
        check_anonymous(request, "bind")
        data = BindInput(data=request.data)
        data.is_valid(raise_exception=True)
        return _bound(request, InviteKind.BIND, data.validated_data["bind_secret"], data.validated_data)


class InstallBindView(AnonymousView):
    """`POST /v1/agents/bind`: the same with an install token, after which the earlier key stays for a while."""

    @extend_schema(request=InstallInput, responses={200: BindOutput})
    def post(self, request: Request) -> Response:
        check_anonymous(request, "bind")
        data = InstallInput(data=request.data)
        data.is_valid(raise_exception=True)
        return _bound(request, InviteKind.INSTALL, data.validated_data["bootstrap_token"], data.validated_data)


class BindSecretView(AnonymousView):
    """`POST /v1/bind-secret`: the MCP server knocks here when it has ids and no key. There is nothing to tell it."""

    @extend_schema(request=PingInput, responses={200: PingOutput})
    def post(self, request: Request) -> Response:
        return Response({"ok": True})


def _bound(request: Request, kind: InviteKind, secret: str, data: dict[str, str]) -> Response:
    stamp = stamped(request)
    try:
        agent = bind(kind=kind, secret=secret, pem=data["public_key_pem"], request_id=stamp.request_id, now=stamp.now)
    except InviteGone as error:
        raise ApiError(410, _GONE[kind], code="gone") from error
    except KeyRefused as error:
        raise ApiError(400, str(error), code="key_refused") from error
    return Response(
        {
            "agent_id": agent.pk,
            "owner_id": str(agent.owner_id),
            "proxy_url": settings.PUBLIC_URL,
            "status": agent.status,
        }
    )
