"""Order and durability only: what runs when, what is retried, what is remembered."""
