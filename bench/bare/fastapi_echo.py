"""The same as `aiohttp_echo`, with FastAPI and uvicorn. Arguments: port, token."""

from __future__ import annotations

import hmac
import sys
from typing import Any

import uvicorn
from fastapi import Body, FastAPI, Header, HTTPException

TOKEN = f"Bearer {sys.argv[2]}".encode()
app = FastAPI()


@app.post("/echo")
async def echo(body: dict[str, Any] = Body(), authorization: str = Header("")) -> dict[str, Any]:  # noqa: B008
    if not hmac.compare_digest(authorization.encode(), TOKEN):
        raise HTTPException(401)
    return body


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="error")
