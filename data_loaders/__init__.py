"""Human and brain data, read from local files."""
