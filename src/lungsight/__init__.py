"""Lung masks and an honest COVID-19 score for frontal chest X-rays. Research use only, not for diagnosis."""

__version__ = "0.1.0"
