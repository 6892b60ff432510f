"""From a take's raw frames to aligned OLAT sets: source, identify, develop, flow, align, store."""
