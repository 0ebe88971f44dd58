"""`UnknownValue`: the stand-in for a stored value that cannot be rebuilt in this process."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen(eq=False, repr=False)
class UnknownValue:
    """A stored value whose class is not known here, for inspection only: the codec refuses to store one.

    Attributes:
        type_name: The class as `module:QualifiedName`, or the codec's tag where no class is named.
        fields: The stored content: fields by name, or other content of the class.
    """

    type_name: str
    fields: Any

    def __repr__(self) -> str:
        if isinstance(self.fields, dict):
            return f"{self.type_name}({', '.join(f'{name}={value!r}' for name, value in self.fields.items())})"
        return f"{self.type_name}({self.fields!r})"
