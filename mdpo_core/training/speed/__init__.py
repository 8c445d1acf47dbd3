"""How fast a run is: time, operations, and what the device is capable of."""
