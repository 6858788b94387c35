"""The stream engine: pure functions without I/O, clock, randomness or Temporal."""
