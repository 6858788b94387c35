"""Measurements of the whole stack and of its parts; `python -m benchmarks` runs them."""
