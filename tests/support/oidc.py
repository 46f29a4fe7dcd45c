"""An OpenID Connect provider that signs in whoever comes: `python -m tests.support.oidc PORT EMAIL`."""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "studio", "not-a-secret"
KEY = RSAKey.generate_key(2048, {"kid": "test", "use": "sig"})


class Provider(BaseHTTPRequestHandler):
    """Answers discovery, authorization, token and keys."""

    issuer = ""
    email = ""
    nonces: dict[str, str] = {}  # noqa: RUF012 - one server per process

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/.well-known/openid-configuration":
            self._json(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )
        elif url.path == "/keys":
            self._json({"keys": [KEY.as_dict(private=False)]})
        elif url.path == "/authorize":
            self.nonces["code"] = query.get("nonce", "")
            self.send_response(302)
            self.send_header(
                "Location", f"{query['redirect_uri']}?{urlencode({'code': 'code', 'state': query['state']})}"
            )
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "1",
            "email": self.email,
            "email_verified": True,
            "nonce": self.nonces["code"],
            "iat": now,
            "exp": now + 600,
        }
        token = jwt.encode({"alg": "RS256", "kid": "test"}, claims, KEY)
        self._json({"access_token": "a", "token_type": "Bearer", "expires_in": 600, "id_token": token})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _json(self, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    Provider.issuer, Provider.email = f"http://127.0.0.1:{sys.argv[1]}", sys.argv[2]
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Provider).serve_forever()
