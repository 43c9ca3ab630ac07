"""Uploads a file by tuspy: python3 tus.py URL TOKEN FILE BYTES, where BYTES is the size of the pieces."""
import sys

from tusclient import client

endpoint, token, file, size = sys.argv[1:]
uploader = client.TusClient(endpoint, headers={'Authorization': 'Bearer ' + token}).uploader(
    file, chunk_size=int(size), metadata={'filename': 'talk.mp4', 'bitrate': '64'}, retries=50, retry_delay=0.1)
uploader.upload()
print(uploader.url)
