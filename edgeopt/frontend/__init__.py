"""From what people have to a Program: files, modules, inputs and shapes."""
