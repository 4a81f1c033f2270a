"""Short distillation of substituted layers from the original, on unlabeled data and the traced program alone."""
