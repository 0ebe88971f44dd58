"""Observability: metrics, traces, observers of entries, audit lines."""
