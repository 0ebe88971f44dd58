"""Benchmarks that ship with the package, so that users measure their own machine, stores and workflows: `replay bench`."""
