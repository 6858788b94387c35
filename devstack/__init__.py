"""The embedded Temporal, Kafka, ClickHouse, PostgreSQL and TimescaleDB of a laptop or CI."""
