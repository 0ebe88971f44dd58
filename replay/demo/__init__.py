"""Demo of `replay demo`: the README's order approval, with real input."""
