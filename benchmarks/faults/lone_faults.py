"""The faults of drivers, by name."""

from collections.abc import Callable

import captures
import drivers
import files
import logins
import stores
from alone import LoneScene

LONE_FAULTS: dict[str, Callable[[LoneScene], None]] = {
    "ctrl_c": drivers.interrupted,
    "sigterm": drivers.terminated,
    "sighup": drivers.hung_up,
    "sigkill": drivers.killed,
    "saving": drivers.killed_saving,
    "closing": drivers.killed_closing,
    "registered": drivers.killed_registered,
    "halted": drivers.halted,
    "second": drivers.second_driver,
    "same_name": drivers.two_of_a_name,
    "fresh_store": drivers.three_on_a_fresh_store,
    "neighbors": drivers.neighbors,
    "delete": drivers.deleted_by_command,
    "lock_taken": drivers.lock_taken,
    "lock_removed": drivers.lock_removed,
    **files.TORN,
    "all_torn": files.all_torn,
    "record_torn": files.record_torn,
    "knobs_torn": files.knobs_torn,
    "ids_torn": files.ids_torn,
    "pruned": files.pruned,
    "checkpoints_removed": files.checkpoints_removed,
    "folder_moved": files.folder_moved,
    "log_full": files.log_full,
    "pipe": files.pipe_closed,
    "disk_small": files.disk_too_small,
    "disk_mlflow": files.disk_full_for_mlflow,
    "run_deleted": stores.run_deleted,
    "parent_deleted": stores.parent_deleted,
    "experiment_deleted": stores.experiment_deleted,
    "runs_removed": stores.runs_removed,
    "store_removed": stores.store_removed,
    "store_locked": stores.store_locked,
    "store_damaged": stores.store_damaged,
    "artifacts": stores.artifacts_lost,
    "moved": stores.project_moved,
    "server_gone": stores.server_gone,
    "file_store": stores.file_store,
    "unknown_model": stores.unknown_model,
    "video_cut": captures.video_cut,
    "video_removed": captures.video_removed,
    "textures_cut": captures.textures_cut,
    "transforms_cut": captures.transforms_cut,
    "other_capture": captures.other_capture,
    "no_ranges": captures.server_without_ranges,
    "web_dies": captures.server_dies,
    "web_hiccups": captures.server_hiccups,
    "ray_gone": captures.cluster_gone,
    "ray_jobs": captures.cluster_of_jobs,
    "odd_name": captures.odd_name,
    "bucket": captures.bucket_as_storage,
    "no_gpu": captures.no_gpu,
    "secrets": logins.kept_secret,
}
