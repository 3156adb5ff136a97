"""The contracts of the engine with backends, channels and stores, one module for each."""
