"""The simulated stage: a performer that the camera sees under whatever the LEDs did."""
