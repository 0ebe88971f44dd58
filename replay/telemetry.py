"""OpenTelemetry, at its documented path; it lives in `replay.observability.telemetry`."""

from replay.observability.telemetry import instrument

__all__ = ["instrument"]
