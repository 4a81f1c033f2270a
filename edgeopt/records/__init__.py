"""What is measured and decided, as data: dataclasses that measuring fills, reports read, and the JSON consists of."""
