"""Sends BYTES bytes of PATH to URL in chunks, one for each piece of PIECE bytes:

    python3 send.py PIECE URL PATH BYTES

A body that is an iterator makes http.client send chunks. Each is one call of `sendall`, with its size
line and its end, as in `requests` (urllib3 2), which copies its loop.
"""

import http.client
import sys
from urllib.parse import urlsplit


def pieces(piece, path, left):
    with open(path, "rb", buffering=0) as source:
        while left > 0:
            data = source.read(min(piece, left))
            if not data:
                sys.exit(f"{path} ends early")
            left -= len(data)
            yield data


def main(piece, url, path, left):
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc)
    connection.request("POST", address.path, body=pieces(int(piece), path, int(left)))
    response = connection.getresponse()
    response.read()
    if response.status != 200:
        sys.exit(f"the server answered {response.status}")


main(*sys.argv[1:])
