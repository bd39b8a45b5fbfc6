"""The server that the official conformance suite talks to: what its tools, prompts and resources do.

Names and texts are those that the suite asks for; `catalog.json` lists them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from praxis.model.tool import JSON, CallContext
from praxis.tools.service import Description, Notice
from praxis.wire.mcp_modern import is_wanted
from praxis.wire.mcp_server import missing_capability, refusal

CATALOG = Path(__file__).with_name("catalog.json")
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
STEP = 0.05
"""Seconds between two messages of a tool that sends several."""

Params = Mapping[str, JSON]
Result = dict[str, JSON]


def text(words: str, **more: JSON) -> Result:
    return {"content": [{"type": "text", "text": words}], **more}


def form(message: str, **properties: JSON) -> Result:
    """An elicitation: every property is required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sample(prompt: str, tokens: int = 100) -> Result:
    messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": tokens}}


ROOTS: Result = {"method": "roots/list", "params": {}}
NAME = form("What is your name?", name={"type": "string"})
QUESTIONS: dict[str, tuple[dict[str, Result], str | None]] = {
    "elicitation": ({"user_name": NAME}, None),
    "sampling": ({"capital_question": sample("What is the capital of France?")}, None),
    "list_roots": ({"client_roots": ROOTS}, None),
    "request_state": ({"confirm": form("Please confirm", ok={"type": "boolean"})}, "state-1"),
    "tampered_state": ({"confirm": form("Please confirm", ok={"type": "boolean"})}, "state-1"),
    "multiple_inputs": (
        {"user_name": NAME, "greeting": sample("Generate a greeting", 50), "client_roots": ROOTS},
        "state-1",
    ),
}
"""What each tool of this kind asks for, and the state that it gives along."""
ENUMS: dict[str, JSON] = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {
        "type": "string",
        "oneOf": [{"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second"), 1)],
    },
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    "titledMulti": {
        "type": "array",
        "items": {"anyOf": [{"const": f"value{n}", "title": f"{n}. Choice"} for n in (1, 2)]},
    },
}
DEFAULTS: dict[str, JSON] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}


def required(questions: Mapping[str, JSON], state: str | None = None) -> Result:
    result: Result = {"resultType": "input_required", "inputRequests": dict(questions)}
    return result if state is None else {**result, "requestState": state}


class FixtureService:
    """An McpService. `tools`, `prompts`, `resources` are as they are listed."""

    def __init__(self) -> None:
        catalog = json.loads(CATALOG.read_text())
        self.tools: list[Result] = catalog["tools"]
        self.prompts: list[Result] = catalog["prompts"]
        self._lists = {
            "tools/list": {"tools": self.tools},
            "prompts/list": {"prompts": self.prompts},
            "resources/list": {"resources": catalog["resources"]},
            "resources/templates/list": {"resourceTemplates": catalog["resourceTemplates"]},
        }
        self._schemas = {tool["name"]: tool["inputSchema"] for tool in self.tools}
        self._listeners: list[tuple[Params, Notice]] = []

    def describe(self) -> Description:
        changes = {"listChanged": True}
        return Description(
            {"name": "praxis-conformance-fixture", "version": "1.0.0"},
            {
                "completions": {},
                "logging": {},
                "prompts": changes,
                "resources": {**changes, "subscribe": True},
                "tools": changes,
            },
        )

    def tool_schema(self, name: str) -> Params | None:
        return self._schemas.get(name)

    @asynccontextmanager
    async def subscribe(self, wanted: Params, on_notice: Notice) -> AsyncIterator[Params]:
        listener = (wanted, on_notice)
        self._listeners.append(listener)
        try:
            yield wanted
        finally:
            self._listeners.remove(listener)

    def _note(self, method: str) -> None:
        for wanted, on_notice in self._listeners:
            if is_wanted(method, {}, wanted):
                on_notice(method, {})

    async def request(self, method: str, params: Params, context: CallContext) -> Result:
        if method in self._lists:
            return dict(self._lists[method])
        match method:
            case "tools/call":
                return await self._call(str(params.get("name")), params.get("arguments") or {}, context)
            case "prompts/get":
                return self._prompt(str(params.get("name")), params.get("arguments") or {}, context)
            case "resources/read":
                return self._read(str(params.get("uri")))
            case "completion/complete":
                return {"completion": {"values": ["paris", "park", "party"], "total": 3, "hasMore": False}}
        raise refusal(-32601, f"there is no method {method}")

    # -- tools --------------------------------------------------------------------------------------

    async def _call(self, name: str, arguments: Params, context: CallContext) -> Result:
        kind = name.removeprefix("test_input_required_result_")
        if kind in QUESTIONS:
            return self._answered(*QUESTIONS[kind], context)
        if kind == "multi_round":
            return self._round(context)
        tool: Callable[[Params, CallContext], Awaitable[Result]] | None = getattr(self, f"_tool_{name}", None)
        if tool is None:
            return text(f"there is no tool {name}", isError=True)
        return await tool(arguments, context)

    def _answered(self, questions: dict[str, Result], state: str | None, context: CallContext) -> Result:
        given = context.input or {}
        answers = given.get("inputResponses") or {}
        if not set(questions) <= set(answers):
            return required(questions, state)
        if given.get("requestState") != state:
            raise refusal(-32602, "this is not the state that was given")
        return text(f"state-ok: {json.dumps({key: answers[key] for key in questions})}")

    def _round(self, context: CallContext) -> Result:
        given = context.input or {}
        answers, state = given.get("inputResponses") or {}, given.get("requestState")
        if state == "round-2" and "step2" in answers:
            return text("both rounds are done")
        if state == "round-1" and "step1" in answers:
            question = form("Step 2: What is your favorite color?", color={"type": "string"})
            return required({"step2": question}, "round-2")
        return required({"step1": form("Step 1: What is your name?", name={"type": "string"})}, "round-1")

    async def _tool_test_simple_text(self, arguments: Params, context: CallContext) -> Result:
        words = "This is a simple text response for testing."
        return text(words, structuredContent={"result": words})

    async def _tool_test_image_content(self, arguments: Params, context: CallContext) -> Result:
        return {"content": [{"type": "image", "data": PNG, "mimeType": "image/png"}]}

    async def _tool_test_audio_content(self, arguments: Params, context: CallContext) -> Result:
        return {"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]}

    async def _tool_test_embedded_resource(self, arguments: Params, context: CallContext) -> Result:
        resource = {
            "uri": "test://embedded-resource",
            "mimeType": "text/plain",
            "text": "This is an embedded resource content.",
        }
        return {"content": [{"type": "resource", "resource": resource}]}

    async def _tool_test_multiple_content_types(self, arguments: Params, context: CallContext) -> Result:
        resource = {
            "uri": "test://mixed-content-resource",
            "mimeType": "application/json",
            "text": json.dumps({"test": "data", "value": 123}),
        }
        return {
            "content": [
                {"type": "text", "text": "Multiple content types test:"},
                {"type": "image", "data": PNG, "mimeType": "image/png"},
                {"type": "resource", "resource": resource},
            ]
        }

    async def _tool_test_tool_with_logging(self, arguments: Params, context: CallContext) -> Result:
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            if context.on_log is not None:
                context.on_log({"level": "info", "logger": "fixture", "data": words})
            await trio.sleep(STEP)
        return text("logged three times")

    async def _tool_test_logging_tool(self, arguments: Params, context: CallContext) -> Result:
        return await self._tool_test_tool_with_logging(arguments, context)

    async def _tool_test_tool_with_progress(self, arguments: Params, context: CallContext) -> Result:
        for done in (0, 50, 100):
            if context.on_progress is not None:
                context.on_progress({"progress": done, "total": 100, "message": f"{done} of 100"})
            await trio.sleep(STEP)
        return text("made progress three times")

    async def _tool_test_error_handling(self, arguments: Params, context: CallContext) -> Result:
        return text("This tool intentionally returns an error for testing", isError=True)

    async def _tool_test_sampling(self, arguments: Params, context: CallContext) -> Result:
        answer = await self._ask(sample(str(arguments.get("prompt"))), "sampling", context)
        content = answer.get("content")
        return text(f"LLM response: {content.get('text') if isinstance(content, Mapping) else content}")

    async def _tool_test_elicitation(self, arguments: Params, context: CallContext) -> Result:
        question = form(
            str(arguments.get("message")),
            username={"type": "string", "description": "User's response"},
            email={"type": "string", "description": "User's email address"},
        )
        answer = await self._ask(question, "elicitation", context)
        return text(f"User response: action={answer.get('action')}, content={json.dumps(answer.get('content'))}")

    async def _tool_test_elicitation_sep1034_defaults(self, arguments: Params, context: CallContext) -> Result:
        return await self._elicit(form("Please review", **DEFAULTS), context)

    async def _tool_test_elicitation_sep1330_enums(self, arguments: Params, context: CallContext) -> Result:
        return await self._elicit(form("Please choose", **ENUMS), context)

    async def _tool_test_streaming_elicitation(self, arguments: Params, context: CallContext) -> Result:
        return await self._elicit(NAME, context)

    async def _elicit(self, question: Result, context: CallContext) -> Result:
        answer = await self._ask(question, "elicitation", context)
        shown = f"action={answer.get('action')}, content={json.dumps(answer.get('content') or {})}"
        return text(f"Elicitation completed: {shown}")

    async def _ask(self, question: Result, capability: str, context: CallContext) -> Params:
        if context.ask is None:
            raise missing_capability(capability)
        return await context.ask(question["method"], question["params"])

    async def _tool_test_input_required_result_capabilities(self, arguments: Params, context: CallContext) -> Result:
        possible = {"elicitation": NAME, "sampling": sample("Generate a greeting", 50), "roots": ROOTS}
        able = {key: question for key, question in possible.items() if key in context.capabilities}
        return self._answered(able, None, context) if able else text("there is nobody to ask")

    async def _tool_test_missing_capability(self, arguments: Params, context: CallContext) -> Result:
        if "sampling" not in context.capabilities:
            raise missing_capability("sampling")
        return text("sampling is there")

    async def _tool_test_x_mcp_header(self, arguments: Params, context: CallContext) -> Result:
        return text(f"region={arguments.get('region', '<none>')}")

    async def _tool_json_schema_2020_12_tool(self, arguments: Params, context: CallContext) -> Result:
        return text(f"called with {json.dumps(arguments)}")

    async def _tool_test_reconnection(self, arguments: Params, context: CallContext) -> Result:
        if context.detach is not None:
            context.detach()
        await trio.sleep(2 * STEP)
        return text("the answer came on another connection")

    async def _tool_test_trigger_tool_change(self, arguments: Params, context: CallContext) -> Result:
        self._toggle(
            self.tools, {"name": "test_changed", "description": "Comes and goes", "inputSchema": {"type": "object"}}
        )
        self._note("notifications/tools/list_changed")
        return text("the tools have changed")

    async def _tool_test_trigger_prompt_change(self, arguments: Params, context: CallContext) -> Result:
        self._toggle(self.prompts, {"name": "test_changed", "description": "Comes and goes"})
        self._note("notifications/prompts/list_changed")
        return text("the prompts have changed")

    def _toggle(self, entries: list[Result], entry: Result) -> None:
        if entry in entries:
            entries.remove(entry)
        else:
            entries.append(entry)

    # -- prompts and resources ----------------------------------------------------------------------

    def _prompt(self, name: str, arguments: Params, context: CallContext) -> Result:
        def says(*contents: Result) -> Result:
            return {"messages": [{"role": "user", "content": content} for content in contents]}

        def words(said: str) -> Result:
            return {"type": "text", "text": said}

        match name:
            case "test_simple_prompt":
                return says(words("This is a simple prompt for testing."))
            case "test_prompt_with_arguments":
                given = ", ".join(f"{key}='{arguments.get(key, '')}'" for key in ("arg1", "arg2"))
                return says(words(f"Prompt with arguments: {given}"))
            case "test_prompt_with_embedded_resource":
                resource = {
                    "uri": arguments.get("resourceUri", ""),
                    "mimeType": "text/plain",
                    "text": "Embedded resource content for testing.",
                }
                embedded = {"type": "resource", "resource": resource}
                return says(embedded, words("Please process the embedded resource above."))
            case "test_prompt_with_image":
                image = {"type": "image", "data": PNG, "mimeType": "image/png"}
                return says(image, words("Please analyze the image above."))
            case "test_input_required_result_prompt":
                answers = (context.input or {}).get("inputResponses") or {}
                if "user_context" not in answers:
                    question = form("What context should the prompt use?", context={"type": "string"})
                    return required({"user_context": question})
                return says(words(f"Use this context: {json.dumps(answers['user_context'].get('content'))}"))
        raise refusal(-32602, f"there is no prompt {name!r}")

    def _read(self, uri: str) -> Result:
        content: Result | None = None
        if uri == "test://static-text":
            content = {"mimeType": "text/plain", "text": "This is the content of the static text resource."}
        elif uri == "test://static-binary":
            content = {"mimeType": "image/png", "blob": PNG}
        elif uri == "test://watched-resource":
            content = {"mimeType": "text/plain", "text": "Watched resource content"}
        elif uri.startswith("test://template/") and uri.endswith("/data"):
            id = uri.removeprefix("test://template/").removesuffix("/data")
            value = {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}
            content = {"mimeType": "application/json", "text": json.dumps(value)}
        if content is None:
            raise refusal(-32602, "there is no such resource", {"uri": uri})
        return {"contents": [{"uri": uri, **content}]}
