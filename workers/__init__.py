"""Worker processes: task queues, wiring of clients, entry point."""
