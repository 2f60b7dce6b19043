"""A page and a REST API over the same prediction. Needs the serve extra (FastAPI, uvicorn), no PyTorch."""
