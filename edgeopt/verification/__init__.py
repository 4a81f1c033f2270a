"""Inputs to verify a program on: the example, and invented ones that are able to find faults."""

from edgeopt.verification.calibrated import varied
from edgeopt.verification.out_of_range import out_of_range
from edgeopt.verification.samples import Inventor, VerificationInputs
from edgeopt.verification.stated import check_stated

__all__ = ["Inventor", "VerificationInputs", "check_stated", "out_of_range", "varied"]
