"""Networks that Keras stored: their JSON, layers and weights as torch modules."""
