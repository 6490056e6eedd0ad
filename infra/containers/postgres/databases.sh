#!/bin/bash
# Makes a database and its owner for the registry and for Prefect; PostgreSQL's image runs it when its folder is empty.
set -euo pipefail
for name in registry prefect; do
    password=$([ "$name" = registry ] && echo "$REGISTRY_DB_PASSWORD" || echo "$PREFECT_DB_PASSWORD")
    psql --set ON_ERROR_STOP=1 --username postgres --set name="$name" --set password="$password" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
