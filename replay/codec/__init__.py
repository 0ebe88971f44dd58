"""Values to JSON text and back, exactly or not at all."""

from replay.codec.tagged import TaggedJson, serializable
from replay.codec.unknown import UnknownValue

__all__ = ["TaggedJson", "UnknownValue", "serializable"]
