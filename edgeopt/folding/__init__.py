"""Moving a per-channel scale and shift into the weights of a linear or convolution nearby."""
