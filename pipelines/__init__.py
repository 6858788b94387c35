"""Typed specifications of every pipeline kind, their YAML loader and their expressions."""
