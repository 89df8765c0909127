"""Trained models applied to images: from weights to stored or returned predictions."""
