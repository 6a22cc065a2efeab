"""The parts of a sweep: search space, state, schedulers, runner, and its report to MLflow and to the user."""
