"""The user's own code in a training: functions, classes and metrics."""
