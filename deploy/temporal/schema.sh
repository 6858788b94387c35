#!/bin/sh
# Bring both databases of a Temporal server to the schema of this version; running it again changes nothing.
set -eu

for database in temporal:temporal temporal_visibility:visibility; do
    name=${database%%:*}
    schema=/etc/temporal/schema/postgresql/v12/${database##*:}/versioned
    tool() {
        temporal-sql-tool --plugin postgres12 --ep "$DATABASE_HOST" -p 5432 -u temporal --db "$name" "$@"
    }
    tool create
    tool setup-schema -v 0.0
    tool update-schema -d "$schema"
done
