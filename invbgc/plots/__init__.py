"""Figures of a fit: functions that return Matplotlib figures and neither show nor save them."""
