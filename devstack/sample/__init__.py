"""Sample data: made-up sales and the real flights of New York, as columns of records."""
