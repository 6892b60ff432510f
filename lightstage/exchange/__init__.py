"""What other tools read and write: films, layered EXR, stacks of one-light pictures."""
