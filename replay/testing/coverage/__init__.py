"""Durable coverage: the commands of each workflow that tests ran, and the arms of each that they took."""
