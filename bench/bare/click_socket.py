"""A minimal command: imports click and asks for `/health` over a socket. Argument: port."""

from __future__ import annotations

import socket

import click


@click.command()
@click.argument("port", type=int)
def main(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        while data := connection.recv(65536):
            click.echo(data.decode())


main()
