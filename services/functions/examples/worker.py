"""A worker for the function named on the command line: Celsius to Fahrenheit.

    HEADWATER_NATS=127.0.0.1:4222 HEADWATER_WORKER_PASSWORD=... python3 worker.py degrees

It speaks NATS over a plain socket, so it needs no library; nats-py or any other client does
the same. Any number of workers of one function share its requests.
"""
import json, os, socket, sys


def handle(readings):
    return [
        {"site": r["site"], "device": r["device"], "metric": r["metric"] + "_f", "time": r["time"], "value": r["value"] * 1.8 + 32, "unit": "°F"}
        for r in readings
        if type(r["value"]) in (int, float)
    ]


name = sys.argv[1]
host, _, port = os.environ["HEADWATER_NATS"].rpartition(":")
connection = socket.create_connection((host, int(port)))
lines = connection.makefile("rb")
login = {"verbose": False, "user": "headwater-worker", "pass": os.environ["HEADWATER_WORKER_PASSWORD"], "lang": "python", "version": "1"}
connection.sendall(f"CONNECT {json.dumps(login)}\r\nSUB work.{name} workers 1\r\n".encode())
while line := lines.readline():
    words = line.split()
    if words[0] == b"PING":
        connection.sendall(b"PONG\r\n")
    elif words[0] == b"-ERR":
        sys.exit(line.decode())
    elif words[0] == b"MSG":  # MSG subject sid reply size
        body = lines.read(int(words[4]) + 2)
        try:
            answer = {"readings": handle(json.loads(body)["readings"])}
        except Exception as error:
            answer = {"error": str(error)}
        data = json.dumps(answer).encode()
        connection.sendall(b"PUB %s %d\r\n%s\r\n" % (words[3], len(data), data))
