"""I/O joined to pure code: one module per outside system or concern."""
