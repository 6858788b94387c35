#!/bin/sh
# Create topics that are not there yet.
set -eu

for topic in $TOPICS; do
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server "$BOOTSTRAP_SERVERS" \
        --create --if-not-exists --topic "$topic" --partitions "$PARTITIONS"
done
