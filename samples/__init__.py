"""Runnable samples: small models trained here, and packages that extend edgeopt from outside."""
