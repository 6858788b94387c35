"""Drivers of outside systems; the only place, with `devstack`, that imports them."""
