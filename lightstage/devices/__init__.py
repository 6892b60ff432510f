"""The stage's hardware behind two small interfaces, real and simulated alike."""
