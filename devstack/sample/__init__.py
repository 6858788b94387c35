"""Sample data, as columns: made-up sales and orders, and the real flights of New York."""
