"""Prediction with trained models: from weights and images to stored or returned predictions."""
