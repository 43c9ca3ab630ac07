"""Speaks as the old system's auth service does: Basic credentials against the table user, and JWTs of its own."""
import base64
import datetime
import json
import os
from http.server import BaseHTTPRequestHandler

import jwt
import pymysql

from serve import serve

SECRET = os.environ["JWT_SECRET"]


def password_of(email):
    db = pymysql.connect(host=os.environ["MYSQL_HOST"], port=int(os.environ["MYSQL_PORT"]), user=os.environ["MYSQL_USER"],
                         password=os.environ["MYSQL_PASSWORD"], database=os.environ["MYSQL_DB"])
    with db, db.cursor() as cur:
        cur.execute("SELECT email, password FROM user WHERE email=%s", (email,))
        row = cur.fetchone()
        return row and row[1]


def create_jwt(username):
    now = datetime.datetime.now(tz=datetime.timezone.utc)
    return jwt.encode({"username": username, "exp": now + datetime.timedelta(days=1), "iat": now, "admin": True},
                      SECRET, algorithm="HS256")


class Auth(BaseHTTPRequestHandler):
    def do_POST(self):
        given = self.headers.get("Authorization", "")
        if self.path == "/login":
            kind, _, code = given.partition(" ")
            if kind != "Basic":
                return self.answer(401, "missing credentials")
            email, _, password = base64.b64decode(code).decode().partition(":")
            if password_of(email) != password:
                return self.answer(401, "invalid credentials")
            return self.answer(200, create_jwt(email))
        if self.path == "/validate":
            if not given:
                return self.answer(401, "missing credentials")
            try:
                claims = jwt.decode(given.split(" ")[1], SECRET, algorithms=["HS256"])
            except Exception:
                return self.answer(403, "not authorized")
            return self.answer(200, json.dumps(claims))
        return self.answer(404, "not found")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


serve(Auth)
