"""Datasets, their file records, and the words that describe them."""
