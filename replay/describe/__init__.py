"""The shape of a workflow, found by driving its generator over all outcomes. Nothing is executed."""

from replay.describe.explorer import describe
from replay.describe.shape import Description, Edge, Node

__all__ = ["Description", "Edge", "Node", "describe"]
