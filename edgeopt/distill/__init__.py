"""Short distillation of substituted layers from the original, on unlabelled data and the traced program alone."""
