"""What the API reads strictly."""

from typing import Any

from rest_framework import serializers


class Text(serializers.CharField):
    """A JSON string and nothing else: no number is read as one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("This must be a string.")
        return super().to_internal_value(data)
