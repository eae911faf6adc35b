"""The agent API before there is an identity: binding a key to an invite."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.enrolment import InviteGone, bind
from agents.errors import ApiError
from agents.http import stamped
from agents.keys import MAX_PEM_LENGTH, KeyRefused


class BindInput(serializers.Serializer[None]):
    """`POST /v1/invites/bind`"""

    bind_secret = serializers.CharField(max_length=200)
    public_key_pem = serializers.CharField(max_length=MAX_PEM_LENGTH, trim_whitespace=False)


class BindOutput(serializers.Serializer[None]):
    agent_id = serializers.CharField()
    owner_id = serializers.UUIDField()
    proxy_url = serializers.URLField(help_text="Where the agent sends its calls from now on")
    status = serializers.CharField()


class InviteBindView(APIView):
    """`POST /v1/invites/bind`: one use, 30 minutes. The private key never leaves the agent's machine."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(request=BindInput, responses={200: BindOutput})
    def post(self, request: Request) -> Response:
        data = BindInput(data=request.data)
        data.is_valid(raise_exception=True)
        stamp = stamped(request)
        try:
            agent = bind(
                secret=data.validated_data["bind_secret"],
                pem=data.validated_data["public_key_pem"],
                request_id=stamp.request_id,
                now=stamp.now,
            )
        except InviteGone as error:
            raise ApiError(
                410, "This code is unknown, used or older than 30 minutes: ask the owner for a new one."
            ) from error
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
