"""What a run is asked to do: presets, schemas and the loader. Imports neither torch nor numpy."""
