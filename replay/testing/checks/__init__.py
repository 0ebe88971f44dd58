"""Checks of a workflow: recovery after crashes, replay equivalence, golden histories."""
