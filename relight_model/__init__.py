"""The learnt performer: head-model renders in, a reflectance field out."""
