"""Code of the user that a training calls: functions, classes and metrics."""
