"""Calibration: data, observers, estimators and ranges; imported as edgeopt.calib."""
