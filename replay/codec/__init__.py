"""Values to JSON text and back, exactly or not at all."""

from replay.codec.tagged import TaggedJson, serializable

__all__ = ["TaggedJson", "serializable"]
