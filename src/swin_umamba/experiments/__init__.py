"""The three experiments of the paper, from the challenges' data to the paper's table."""
