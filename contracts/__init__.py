"""What a dataset promises: field types and contracts; the reader of files that users write."""
