#!/usr/bin/env bash
# Starts the cluster's MLflow server on the head, unless it runs: bash mlflow.sh SHARED
# Database and artifacts lie on the shared storage and outlive the head. It listens on 127.0.0.1 alone: reach it by
# `ray attach CLUSTER.yaml -p 5000`. One process writes the SQLite file; many users at once want a PostgreSQL server.
set -euo pipefail
store=$1/mlflow
mkdir -p "$store/artifacts"

answers() { python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/health', timeout=2)" 2>/dev/null; }

answers && exit 0
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false setsid nohup mlflow server --host 127.0.0.1 --port 5000 --workers 1 \
    --backend-store-uri "sqlite:///$store/mlflow.db" --artifacts-destination "$store/artifacts" \
    >>"$store/server.log" 2>&1 </dev/null &
server=$!
for _ in $(seq 300); do  # a busy head takes minutes
    answers && exit 0
    kill -0 "$server" 2>/dev/null || break
    sleep 1
done
echo "error: MLflow does not answer on 127.0.0.1:5000: see $store/server.log" >&2
exit 1
