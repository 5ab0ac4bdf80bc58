"""Measures: from responses to scores, tables and figures."""
