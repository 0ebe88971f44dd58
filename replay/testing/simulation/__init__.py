"""A simulated cluster: one thread, a virtual clock, real engine code."""
