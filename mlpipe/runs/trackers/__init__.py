"""Runs of tracking servers, MLflow's and Weights & Biases': a project's trainings as these show them."""
