"""Crash tests open workspaces of their own."""
