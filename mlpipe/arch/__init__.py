"""Networks and their weights; independent of data, configuration and projects."""
