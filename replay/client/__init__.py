"""The client: starts, signals, waits for and inspects executions; operators and histories."""
