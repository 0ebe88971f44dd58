"""Scenarios: step outcomes, signals, clocks and crashes drawn by Hypothesis."""
