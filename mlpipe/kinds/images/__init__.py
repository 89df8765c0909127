"""An image for each image."""
