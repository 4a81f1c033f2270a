"""The integer graph that microcontrollers run, and its tensors."""
