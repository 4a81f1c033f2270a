"""Operators of our own, one file each: schema, torch reference, shape rule, ONNX function."""
