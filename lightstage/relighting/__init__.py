"""Any light on a reflectance field: environment maps, light weights, studio lights."""
