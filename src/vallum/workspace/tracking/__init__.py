"""Experiments, runs and metrics: what MLflow calls tracking."""
