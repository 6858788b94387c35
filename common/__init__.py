"""What every layer shares: errors, settings, names, logging and payloads."""
