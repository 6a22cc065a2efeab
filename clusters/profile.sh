# The environment of a cluster's node, for its login shell: . profile.sh SHARED
# `ray start` hands it on to every process on the node.
export PATH="$HOME/na_ray_venv/bin:$PATH"
# A script in the home folder, as `ray submit` puts it, would take the folder ~/na_ray for the package.
export PYTHONPATH="$HOME/na_ray${PYTHONPATH:+:$PYTHONPATH}"
# Programs on a node show Ray the token of ~/.ray/auth_token; without this, they are refused.
export RAY_AUTH_MODE=token
# Only the driver, on the head, writes to MLflow; the server listens on the head's loopback.
export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
export MLFLOW_DISABLE_TELEMETRY=true RAY_USAGE_STATS_ENABLED=0
# Training waits for machines that the autoscaler starts, instead of giving up after a minute.
export RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="${RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S:-1800}"
# Training decides how many machines run: thresholds above 1 keep Ray Data from asking for more to decode on.
for resource in CPU GPU MEMORY OBJECT_STORE_MEMORY; do
    export "RAY_DATA_DEFAULT_CLUSTER_SCALING_UP_${resource}_UTIL_THRESHOLD=2"
done
unset resource
# CPU workers of several machines reach each other by the address that Ray uses too. Left alone, they would take what
# the host's name resolves to, which is a loopback address on Debian and Ubuntu.
interface=$(ip -o route get 192.0.2.1 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
[ -z "$interface" ] || export GLOO_SOCKET_IFNAME="$interface"
unset interface
# Frames that were read leave the object store at once: what data.memory_mb bounds is what it holds.
export RAY_free_objects_period_milliseconds=100
# Relative paths of an experiment (its captures and its runs) lie on the shared storage.
cd "$1" || true
