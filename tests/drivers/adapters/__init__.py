"""One small interface to every driver, so that a behaviour is written once."""
