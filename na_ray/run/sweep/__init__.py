"""The parts of a sweep: what it varies, what became of its trials, who goes on, what MLflow and the user are told."""
