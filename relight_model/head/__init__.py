"""The parametric head: its torch model, landmarks, face capture, and uses of its parameters."""
