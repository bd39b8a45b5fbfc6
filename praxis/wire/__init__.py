"""Bytes to values and back, without a socket or a clock.

The peer protocol, version 1
============================

Peers speak over TCP inside mutual TLS 1.3 with the ALPN name ``praxis/1``. A peer's id is ``px`` and the base32 of
SHA-256 over ``praxis-peer-v1`` and the SubjectPublicKeyInfo of its certificate.

Frames (`praxis.wire.frames`). Twelve bytes of head, network byte order, then the payload::

    offset  size  field
    0       4     payload length, 0 to 65536
    4       1     type
    5       1     flags: 1 BODY, 2 END, 4 ERROR, 8 ACK
    6       2     reserved, sent as 0, ignored
    8       4     stream

    type  name      stream   payload
    1     HELLO     0        JSON; the first frame, sent by both at once
    2     REQUEST   new      JSON {m, p, d?, t?}, or {m, b, x?, d?, t?} to announce a body
    3     RESPONSE  request  JSON result; with BODY {b, x?}; with ERROR {code, message, hint?, where?, data?}
    4     EVENT     request  JSON {m, p}: a notification about that request, such as its progress
                    0        JSON {m, p}: what belongs to no request
    5     DATA      request  bytes of a body; the last one bears END, END|ERROR means that the sender gave it up
    6     CREDIT    request  4 bytes: so many more bytes of the body may be sent
    7     CANCEL    request  empty; the answer comes all the same, as RESPONSE or as the body's end
    8     PING      0        8 bytes, sent back with ACK
    9     GOAWAY    0        JSON {reason, redial}; no new requests, running ones finish

Unknown types from 0x80 up are skipped, others end the line. Streams are odd for the dialer, even for the listener,
and each ends with its RESPONSE (and the body that this announces).

Bodies. A JSON message is one frame. Params or a result whose JSON is larger than a frame, or that have large texts,
are announced by ``b``, their size in bytes, and follow as DATA on the same stream. Large texts stand behind the JSON as
they are; ``x`` says how long each is and to which place it belongs (`praxis.wire.texts`). A sender has 1 MiB of credit
per body and gets more as the receiver takes it in; at most 8 bodies per direction are under way, more wait at the
sender. The size is bounded by `limits.message` of the receiver's HELLO.

HELLO: ``{versions: [min, max], id, name, boot, agent, features, listen, limits: {inflight, message}, observed}``. The
version is the highest that both know; without a common one the line ends with GOAWAY.

Events on stream 0 go only to a peer whose HELLO has the feature for them. ``load``: how busy the sender is
(`praxis.peers.load`). Unknown ones are ignored.

Methods. Unknown ones are answered ``not_found``; new ones need no new version::

    card.get, tools.describe                  who the peer is; definitions by digest
    tool.call                                 {source, name, arguments, meta?, mcp?} -> the tool's result
    mcp.sources, mcp.request, mcp.subscribe   the peer's sources, as far as they are exported, as MCP servers
    mcp.ask                                   {call, method, params}: backwards, about the request on stream `call`
    directory.hash, .pull, .push, member.check
    line.renew                                the other end dialed this line and shall make it anew
    ca.renew, ca.blocked                      to and from the issuer of a network with a CA

Session rules are in `praxis.wire.session`, beacons in `praxis.wire.beacon`.
"""
