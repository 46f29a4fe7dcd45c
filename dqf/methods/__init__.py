"""The methods behind the registry: one folder a kind, one file a method."""
