"""Pictures that tell people how a take went."""
