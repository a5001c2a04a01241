"""The door to a service over HTTP; the only place that knows FastAPI and uvicorn."""
