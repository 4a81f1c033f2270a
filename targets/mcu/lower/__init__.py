"""From a quantized Program to the integer graph."""
