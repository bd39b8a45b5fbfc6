"""A model behind https: asked where its certificate is good, and told nothing, above all no key, where it is not."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from random import Random

import pytest
import trio

from praxis.config.schema import Llm
from praxis.llm.client import ChatClient
from praxis.model.errors import PraxisError
from praxis.observe.metrics import Metrics
from tests.net.test_net_http_client import read_request, served
from tests.support.fake_llm import KEY, NOW

BODY = b'{"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_a_model_behind_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    make += [
        "-keyout",
        str(key),
        "-out",
        str(certificate),
        "-subj",
        "/CN=model",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    await trio.run_process(make, capture_stdout=True, capture_stderr=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    seen: list[bytes] = []

    async def play(stream: trio.SocketStream) -> None:
        async with trio.SSLStream(stream, context, server_side=True, https_compatible=True) as tls:
            while request := await read_request(tls):
                seen.append(request)
                await tls.send_all(ANSWER)

    async def ask(url: str) -> str:
        config = Llm(enabled=True, api_key=KEY, base_url=url)
        client = ChatClient(config, metrics=Metrics(), clock=lambda: NOW, chance=Random(1))
        try:
            return (await client.ask([], {})).text
        finally:
            await client.aclose()

    async with served(play) as server:
        url = server.url.replace("http:", "https:")
        monkeypatch.setattr("praxis.llm.client.TRIES", 1)
        with pytest.raises(PraxisError, match=r"no TLS with 127.*certificate") as caught:
            await ask(url)
        assert KEY not in str(caught.value)
        assert seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await ask(url) == "{}"
        assert len(seen) == 1
