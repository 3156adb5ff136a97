"""The contracts between the engine and what it is connected to: one module each for backends, channels and stores."""
