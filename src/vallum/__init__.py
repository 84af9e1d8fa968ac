"""Vallum: a security layer for machine learning that you host yourself."""
