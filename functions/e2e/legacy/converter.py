"""Speaks as the old system's converter does: a message of the queue video becomes an MP3 and a message of the queue mp3."""
import json
import os
import subprocess
import tempfile

from bson.objectid import ObjectId

from serve import consume, files, publish

videos, mp3s = files()


def convert(ch, body):
    message = json.loads(body)
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "video"), os.path.join(folder, message["video_fid"] + ".mp3")
        with open(source, "wb") as f:
            f.write(videos.get(ObjectId(message["video_fid"])).read())
        # A video without sound is an exception that nobody catches, and ends the program, as in the old one.
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", source, "-vn", "-b:a", "128k", target], check=True)
        with open(target, "rb") as f:
            fid = mp3s.put(f.read())
    message["mp3_fid"] = str(fid)
    try:
        publish(ch, os.environ["MP3_QUEUE"], json.dumps(message))
    except Exception:
        mp3s.delete(fid)
        return "failed to publish message"


consume(os.environ["VIDEO_QUEUE"], convert)
