#!/bin/sh
# Create the namespace with the retention of closed workflows, unless it is there.
# Ends with an error while the server is not ready; Compose starts it again.
set -eu

temporal operator cluster health
temporal operator namespace describe --namespace "$NAMESPACE" > /dev/null 2>&1 ||
    temporal operator namespace create --namespace "$NAMESPACE" --retention "$RETENTION"
