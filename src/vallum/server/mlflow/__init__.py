"""The door that speaks MLflow's REST protocol: it translates, and decides nothing."""
