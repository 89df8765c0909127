"""The machine that trains: its devices, precision, speed, disk space and processes."""
