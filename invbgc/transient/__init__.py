"""Tracers in time: implicit-explicit stepping, the industrial era, radiocarbon and the gas-exchange calibration."""
