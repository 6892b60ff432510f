"""The parametric head: its torch model, landmarks, face capture and what is done with parameters."""
