"""The client: starts, signals, waits for and inspects executions; the operator; histories."""
