"""What a dataset promises: field types now, contracts and checks as they grow."""
