"""Static findings in model files, archives and what travels with them; nothing is loaded."""
