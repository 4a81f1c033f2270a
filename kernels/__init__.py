"""Native kernels: C for microcontrollers, C++ for OpenVINO, CUDA for TensorRT."""
