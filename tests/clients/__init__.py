"""The client's promises, kept by `Engine` and `AsyncEngine` alike; and those of each by itself."""
