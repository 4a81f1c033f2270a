"""Short distillation of swapped blocks from the original, on unlabelled data and the traced program alone."""
