"""Networks and their weights; knows nothing of data, configuration or projects."""
