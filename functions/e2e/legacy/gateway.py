"""Speaks as the old system's gateway does: /login, /upload and /download on one origin."""
import cgi
import json
import os
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler

from bson.objectid import ObjectId

from serve import channel, files, publish, serve

AUTH = "http://" + os.environ["AUTH_SVC_ADDRESS"]
videos, mp3s = files()
queue, one = channel(), threading.Lock()  # pika's channels are for one thread


def ask(path, authorization):
    request = urllib.request.Request(AUTH + path, method="POST", headers={"Authorization": authorization})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


class Gateway(BaseHTTPRequestHandler):
    def do_POST(self):
        given = self.headers.get("Authorization")
        if not given:
            return self.answer(401, b"missing credentials")
        if self.path == "/login":
            return self.answer(*ask("/login", given))
        if self.path != "/upload":
            return self.answer(404, b"not found")
        status, claims = ask("/validate", given)
        if status != 200:
            return self.answer(status, claims)
        access = json.loads(claims)
        if not access["admin"]:
            return self.answer(401, b"not authorized")
        form = cgi.FieldStorage(fp=self.rfile, headers=self.headers, environ={"REQUEST_METHOD": "POST"})
        parts = [form[name] for name in form if form[name].filename]
        if len(parts) != 1:
            return self.answer(400, b"exactly 1 file required")
        return self.answer(*self.store(parts[0].file, access))

    def store(self, file, access):
        fid = videos.put(file)
        message = {"video_fid": str(fid), "mp3_fid": None, "username": access["username"]}
        try:
            with one:
                publish(queue, os.environ["VIDEO_QUEUE"], json.dumps(message))
        except Exception:
            videos.delete(fid)
            return 500, b"internal server error"
        return 200, b"success!"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        status, claims = ask("/validate", self.headers.get("Authorization", ""))
        if status != 200:
            return self.answer(status, claims)
        fid = urllib.parse.parse_qs(url.query).get("fid")
        if url.path != "/download" or not fid:
            return self.answer(400, b"fid is required")
        return self.answer(200, mp3s.get(ObjectId(fid[0])).read())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


serve(Gateway)
