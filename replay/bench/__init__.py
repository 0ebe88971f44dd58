"""Benchmarks of `replay bench`: users measure their own machine, stores and workflows."""
