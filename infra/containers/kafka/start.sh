#!/bin/bash
# Formats Kafka's folder on first use, with the user that Headrace logs in as, and becomes the server.
# A folder that is formatted keeps its users: docs/deploy.md says how a password is changed.
set -euo pipefail
: "${KAFKA_USER:?}" "${KAFKA_PASSWORD:?}"
bin=${KAFKA_BIN:-/opt/kafka/bin}
properties=$(dirname "$0")/server.properties
folder=$(sed -n 's/^log\.dirs=//p' "$properties")
if [ ! -f "$folder/meta.properties" ]; then
    # What it prints holds the keys that passwords are checked by.
    "$bin/kafka-storage.sh" format --config "$properties" --cluster-id "$("$bin/kafka-storage.sh" random-uuid)" \
        --add-scram "SCRAM-SHA-512=[name=$KAFKA_USER,password=$KAFKA_PASSWORD]" >/dev/null
fi
unset KAFKA_PASSWORD
exec "$bin/kafka-server-start.sh" "$properties"
