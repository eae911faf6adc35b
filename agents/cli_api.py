"""`/functions/v1/*`: the account endpoints of the registration command line."""

from typing import cast

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import cli, lifecycle
from agents.errors import ApiError
from agents.fields import Text
from agents.http import stamped
from agents.models import Agent, Member
from agents.permissions import AnonymousView
from agents.throttling import check_anonymous

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_NOT_ADMIN = "Only an admin of the account may do this."


class Person:
    """A member who speaks through a command line."""

    is_authenticated = True

    def __init__(self, member: Member) -> None:
        self.member = member


class CliAuthentication(BaseAuthentication):
    """`Authorization: Bearer avcli_…`, from the exchange of `POST /functions/v1/cli-auth`."""

    def authenticate(self, request: Request) -> tuple[Person, None]:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        member = None
        if scheme.lower() == "bearer" and 0 < len(token) <= 200:
            member = cli.member_of_token(token=token, now=stamped(request).now)
        if member is None:
            raise ApiError(401, "This session is unknown or over: sign in again.", headers=_CHALLENGE)
        return Person(member), None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class CliScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes it."""

    target_class = CliAuthentication
    name = "cliToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A session of the registration command line"}


class CliAuthInput(serializers.Serializer[None]):
    """`POST /functions/v1/cli-auth`"""

    action = serializers.ChoiceField(["init", "exchange"])
    state = serializers.UUIDField()
    port = serializers.IntegerField(required=False, min_value=1024, max_value=65535, help_text="init")
    code = Text(required=False, max_length=200, trim_whitespace=False, help_text="exchange")

    def validate(self, attrs: dict[str, object]) -> dict[str, object]:
        needed = "port" if attrs["action"] == "init" else "code"
        if needed not in attrs:
            raise ValidationError({needed: "This field is required."})
        return attrs


class CliAuthOutput(serializers.Serializer[None]):
    """Empty after `init`."""

    owner_id = serializers.UUIDField(required=False)
    cli_token = serializers.CharField(required=False)
    email = serializers.EmailField(required=False)
    proxy_url = serializers.URLField(required=False)


class CliAuthView(AnonymousView):
    """`POST /functions/v1/cli-auth`: `init` opens the way to /cli-auth in the browser, `exchange` takes what it gave.

    `init` keeps nothing: what counts is the person's word on the page and the code that it sends to the loopback port.
    """

    @extend_schema(request=CliAuthInput, responses={200: CliAuthOutput})
    def post(self, request: Request) -> Response:
        check_anonymous(request, "cli-auth")
        data = CliAuthInput(data=request.data)
        data.is_valid(raise_exception=True)
        values, stamp = data.validated_data, stamped(request)
        if values["action"] == "init":
            return Response({})
        try:
            member, token = cli.exchange_code(
                state=values["state"], code=values["code"], request_id=stamp.request_id, now=stamp.now
            )
        except cli.LoginGone as error:
            raise ApiError(410, "This sign-in is used or out of date: start again.", code="gone") from error
        return _unstored(
            {
                "owner_id": str(member.owner_id),
                "cli_token": token,
                "email": member.user.email,
                "proxy_url": settings.PUBLIC_URL,
            }
        )


class CliRegisterInput(serializers.Serializer[None]):
    """`POST /functions/v1/cli-register-agent`"""

    owner_id = serializers.UUIDField()
    name = Text(max_length=lifecycle.MAX_NAME)
    agent_type = Text(required=False, allow_null=True, allow_blank=True, max_length=100)
    source = Text(  # type: ignore[assignment]  # a field called as the property it does not replace
        required=False, allow_null=True, allow_blank=True, max_length=100
    )
    description = Text(required=False, allow_null=True, allow_blank=True, max_length=1000)


class CliRegisterOutput(serializers.Serializer[None]):
    agent_id = serializers.CharField()
    agent_name = serializers.CharField()
    private_key_pem = serializers.CharField(help_text="PKCS#8. Answered once; the server keeps the public half only")
    public_key_pem = serializers.CharField()


class _CliView(APIView):
    authentication_classes = (CliAuthentication,)
    permission_classes = (IsAuthenticated,)


class CliRegisterView(_CliView):
    """`POST /functions/v1/cli-register-agent`: an agent with a fresh key and no grants."""

    @extend_schema(request=CliRegisterInput, responses={200: CliRegisterOutput})
    def post(self, request: Request) -> Response:
        member, stamp = _member(request), stamped(request)
        data = CliRegisterInput(data=request.data)
        data.is_valid(raise_exception=True)
        values = data.validated_data
        if values["owner_id"] != member.owner_id:
            raise ApiError(404, "There is no such owner.", code="not_found")
        try:
            made = cli.register_agent(
                member=member,
                name=values["name"],
                kind=values.get("agent_type") or "",
                description=values.get("description") or "",
                request_id=stamp.request_id,
                now=stamp.now,
            )
        except lifecycle.NotAllowed as error:
            raise ApiError(403, _NOT_ADMIN, code="not_an_admin") from error
        except lifecycle.NameRefused as error:
            raise ApiError(400, str(error), code="invalid_request") from error
        return _unstored(
            {
                "agent_id": made.agent.pk,
                "agent_name": made.agent.name,
                "private_key_pem": made.private_key_pem,
                "public_key_pem": made.public_key_pem,
            }
        )


class AgentOutput(serializers.Serializer[None]):
    id = serializers.CharField()
    name = serializers.CharField()
    status = serializers.CharField()


class CliListView(_CliView):
    """`GET /functions/v1/list-agents`: the owner's agents, a bare array."""

    @extend_schema(responses={200: AgentOutput(many=True)})
    def get(self, request: Request) -> Response:
        agents = Agent.objects.for_owner(_member(request).owner).roots().order_by("created_at", "pk")
        return Response(list(agents.values("id", "name", "status")))


class CliRevokeInput(serializers.Serializer[None]):
    """`POST /functions/v1/revoke-agent`"""

    agentId = Text(max_length=100)  # noqa: N815 - the wire says so


class CliRevokeOutput(serializers.Serializer[None]):
    revokedAgentIds = serializers.ListField(child=serializers.CharField())  # noqa: N815 - the wire says so


class CliRevokeView(_CliView):
    """`POST /functions/v1/revoke-agent`: for good, with all child agents."""

    @extend_schema(request=CliRevokeInput, responses={200: CliRevokeOutput})
    def post(self, request: Request) -> Response:
        stamp = stamped(request)
        data = CliRevokeInput(data=request.data)
        data.is_valid(raise_exception=True)
        try:
            revoked = lifecycle.revoke(
                member=_member(request),
                agent_id=data.validated_data["agentId"],
                reason="Revoked from the command line",
                now=stamp.now,
                request_id=stamp.request_id,
            )
        except lifecycle.NotAllowed as error:
            raise ApiError(403, _NOT_ADMIN, code="not_an_admin") from error
        except Agent.DoesNotExist as error:
            raise ApiError(404, "There is no such agent.", code="not_found") from error
        return Response({"revokedAgentIds": [agent.pk for agent in revoked]})


class GoneView(AnonymousView):
    """Older ways in, which took a GitHub token or the owner id for a secret. They stay closed."""

    sentence = (
        "This server has no such sign-in. Use a current agentvalet-register (POST /functions/v1/cli-auth), "
        "or an invite from the owner."
    )

    @extend_schema(request=None, responses={410: None})
    def post(self, request: Request) -> Response:
        raise ApiError(410, self.sentence, code="gone", extra={"message": self.sentence})

    @extend_schema(responses={410: None})
    def get(self, request: Request) -> Response:
        return self.post(request)


def _member(request: Request) -> Member:
    return cast(Person, request.user).member


def _unstored(body: dict[str, str]) -> Response:
    return Response(body, headers={"Cache-Control": "no-store"})
