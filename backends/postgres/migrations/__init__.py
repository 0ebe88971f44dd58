"""Migrations of the schema, in order of their numbers: the data of this package."""
