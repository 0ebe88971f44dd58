"""The order-approval workflow of the README, with real input: what `replay demo` runs."""
