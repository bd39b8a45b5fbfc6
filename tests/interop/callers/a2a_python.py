"""The official A2A SDK for Python as a client: ``a2a_python.py URL 1.0|0.3 FILE``.

FILE is where the tool `nap` writes the pid of its child. Prints one line of JSON with what it saw.
"""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import json
import sys
import uuid
from pathlib import Path

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import A2AError
from google.protobuf.json_format import MessageToDict, ParseDict

URL, VERSION, FILE = sys.argv[1], sys.argv[2], Path(sys.argv[3])


def asks(*parts, now=False, **more):
    shown = [{"text": part} if isinstance(part, str) else {"data": part} for part in parts]
    message = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": shown, **more}
    return ParseDict({"message": message, "configuration": {"returnImmediately": now}}, pb.SendMessageRequest())


async def sent(client, request):
    """The task with which one message is answered."""
    (answer,) = [event async for event in client.send_message(request)]
    return answer.task


def state(task):
    return pb.TaskState.Name(task.status.state).removeprefix("TASK_STATE_")


async def refusal(call):
    try:
        answer = call
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            answer = await call
    except A2AError as error:
        return type(error).__name__
    return MessageToDict(answer)


def kinds(events):
    told = []
    for event in events:
        kind = event.WhichOneof("payload")
        status = {"task": event.task, "status_update": event.status_update}.get(kind)
        told.append(kind if status is None else f"{kind} {state(status)}")
    return told


def child(other):
    """The pid in the file, once it is there and is not the other one."""
    text = FILE.read_text() if FILE.exists() else ""
    return int(text) if text.endswith("\n") and int(text) != other else None


async def napping(client):
    """A task that is under way, and the pid of its child."""
    before = child(None)
    task = await sent(client, asks("CALL nap", now=True))
    while (pid := child(before)) is None:  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.02)
    return task, pid


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def ends(pid):
    """True once the process is gone: MCP tells a server that a call is cancelled, and has no answer to that."""
    while runs(pid):  # noqa: ASYNC110 - another process ends it
        await asyncio.sleep(0.02)
    return True


async def look(client, streaming, card):
    seen = {"version": card.supported_interfaces[0].protocol_version, "skills": len(card.skills)}

    task = await sent(client, asks("CALL write_file a.txt hello\nCALL read_file a.txt"))
    seen["sent"] = [state(task), task.artifacts[-1].parts[0].text]
    seen["same"] = await client.get_task(pb.GetTaskRequest(id=task.id)) == task
    graph = {"nodes": [{"id": "read", "tool": "read_file", "args": {"filename": "a.txt"}}], "edges": []}
    talk = await sent(client, asks(graph, context_id="talk"))
    seen["graph"] = [state(talk), talk.context_id, talk.artifacts[0].artifact_id]
    seen["failed"] = state(await sent(client, asks("CALL read_file nothing.txt")))

    seen["streamed"] = kinds([event async for event in streaming.send_message(asks("CALL read_file a.txt"))])

    if VERSION == "1.0":
        page = await client.list_tasks(pb.ListTasksRequest(context_id="talk"))
        seen["listed"] = [[task.id for task in page.tasks] == [talk.id], page.total_size, page.next_page_token]

    napper, pid = await napping(client)
    seen["working"] = [state(await client.get_task(pb.GetTaskRequest(id=napper.id))), runs(pid)]
    events = []
    subscribed = asyncio.Event()

    async def watch():
        async for event in streaming.subscribe(pb.SubscribeToTaskRequest(id=napper.id)):
            events.append(event)
            subscribed.set()

    watching = asyncio.create_task(watch())
    await subscribed.wait()
    cancelled = await client.cancel_task(pb.CancelTaskRequest(id=napper.id))
    seen["cancelled"] = [state(cancelled), await ends(pid)]
    await watching
    seen["watched"] = kinds(events)

    another, pid = await napping(client)
    async for _ in streaming.subscribe(pb.SubscribeToTaskRequest(id=another.id)):
        break  # a stream is closed, and its task goes on
    seen["left"] = [state(await client.get_task(pb.GetTaskRequest(id=another.id))), runs(pid)]
    await client.cancel_task(pb.CancelTaskRequest(id=another.id))
    await ends(pid)

    seen["refused"] = [
        await refusal(client.get_task(pb.GetTaskRequest(id="nope"))),
        await refusal(client.cancel_task(pb.CancelTaskRequest(id=napper.id))),
        await refusal(streaming.subscribe(pb.SubscribeToTaskRequest(id=napper.id))),
        await refusal(client.send_message(asks("CALL read_file a.txt", task_id=napper.id))),
        await refusal(client.send_message(asks("CALLS read_file"))),
        await refusal(
            client.create_task_push_notification_config(
                pb.TaskPushNotificationConfig(task_id=napper.id, url="http://127.0.0.1/")
            )
        ),
    ]
    extended = await client.get_extended_agent_card(pb.GetExtendedAgentCardRequest())
    seen["tools"] = "agent-1:napping/nap" in {skill.id for skill in extended.skills}
    return seen


async def main():
    headers = {"A2A-Version": "1.0"} if VERSION == "1.0" else {}
    async with httpx.AsyncClient(headers=headers, timeout=30) as http:
        first = await http.get(f"{URL}/.well-known/agent-card.json")
        again = await http.get(f"{URL}/.well-known/agent-card.json", headers={"If-None-Match": first.headers["ETag"]})
        card = await A2ACardResolver(http, URL).get_agent_card()
        if VERSION == "0.3":
            del card.supported_interfaces[0]  # what a client finds that knows 0.3 alone
        client = ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create(card)
        streaming = ClientFactory(ClientConfig(streaming=True, httpx_client=http)).create(card)
        seen = await look(client, streaming, card)
        seen["again"] = [again.status_code, "max-age" in first.headers["Cache-Control"]]
    print(json.dumps(seen))


asyncio.run(main())
