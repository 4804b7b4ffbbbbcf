"""The tools, resources and prompts that the official conformance suite requires, with its names and texts."""

import asyncio
import json
from base64 import b64decode
from typing import Annotated, Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message, PromptResult
from fastmcp.resources import ResourceContent, ResourceResult
from fastmcp.tools import ToolResult
from mcp import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitationCapability,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    ImageContent,
    InputRequests,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

# An image of one red pixel, and an empty audio file.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="

IMAGE = ImageContent(type="image", data=PNG, mime_type="image/png")
PAUSE_SECONDS = 0.05


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def embedded(uri: str, content: str, mime_type: str = "text/plain") -> EmbeddedResource:
    resource = TextResourceContents(uri=uri, mime_type=mime_type, text=content)
    return EmbeddedResource(type="resource", resource=resource)


def form(message: str, **properties: dict[str, Any]) -> ElicitRequest:
    """Return a request for a form in which every field is required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def question(words: str, max_tokens: int = 100) -> CreateMessageRequest:
    """Return a request for an answer from the client's model."""
    message = SamplingMessage(role="user", content=text(words))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def ask(requests: InputRequests, state: str | None = None) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def answer(ctx: Context, name: str) -> Any:
    """Return the client's answer to a request, or None."""
    return (ctx.input_responses or {}).get(name)


def filled(ctx: Context, name: str, field: str) -> str | None:
    """Return a field of a form that the client filled in, or None."""
    form = answer(ctx, name)
    return str(form.content[field]) if isinstance(form, ElicitResult) and form.content else None


ASK_NAME: InputRequests = {"user_name": form("What is your name?", name={"type": "string"})}
CONFIRM: InputRequests = {"confirm": form("Please confirm", ok={"type": "boolean"})}


async def test_simple_text() -> str:
    """Return a text."""
    return "This is a simple text response for testing."


async def test_image_content() -> ImageContent:
    """Return an image."""
    return IMAGE


async def test_audio_content() -> AudioContent:
    """Return a sound."""
    return AudioContent(type="audio", data=WAV, mime_type="audio/wav")


async def test_embedded_resource() -> EmbeddedResource:
    """Return a resource."""
    return embedded("test://embedded-resource", "This is an embedded resource content.")


async def test_multiple_content_types() -> ToolResult:
    """Return a text, an image and a resource."""
    data = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
    return ToolResult(content=[text("Multiple content types test:"), IMAGE, data])


async def test_tool_with_logging(ctx: Context) -> str:
    """Send three log messages."""
    await ctx.info("Tool execution started")
    await asyncio.sleep(PAUSE_SECONDS)
    await ctx.info("Tool processing data")
    await asyncio.sleep(PAUSE_SECONDS)
    await ctx.info("Tool execution completed")
    return "Three messages sent."


async def test_logging_tool(ctx: Context) -> str:
    """Send a log message to clients that asked for it."""
    await ctx.info("For who asks")
    return "One message sent."


async def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress three times."""
    for progress in (0, 50, 100):
        await ctx.report_progress(progress, 100)
        await asyncio.sleep(PAUSE_SECONDS)
    return "Done."


async def test_sampling(prompt: str, ctx: Context) -> str:
    """Ask the client's model, in the handshake era."""
    params = question(prompt).params
    result = await ctx.session.create_message(
        params.messages, max_tokens=params.max_tokens, related_request_id=ctx.request_id
    )
    return f"LLM response: {said(result)}"


def said(result: CreateMessageResult) -> str:
    return result.content.text if isinstance(result.content, TextContent) else ""


async def elicited(ctx: Context, request: ElicitRequest) -> str:
    """Ask the user, in the handshake era, and return the client's answer."""
    assert isinstance(request.params, ElicitRequestFormParams)
    result = await ctx.session.elicit_form(
        request.params.message, request.params.requested_schema, related_request_id=ctx.request_id
    )
    return f"action={result.action}, content={json.dumps(result.content)}"


async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask for a name and an address."""
    person = form(
        message,
        username={"type": "string", "description": "User's response"},
        email={"type": "string", "description": "User's email address"},
    )
    return f"User response: {await elicited(ctx, person)}"


async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask with a default of every kind."""
    profile = form(
        "Please check your profile",
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        verified={"type": "boolean", "default": True},
    )
    return f"Elicitation completed: {await elicited(ctx, profile)}"


async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask with a choice of every kind."""
    plain = {"type": "string", "enum": ["option1", "option2", "option3"]}
    titled = [
        {"const": f"value{number}", "title": f"{ordinal} Option"}
        for number, ordinal in enumerate(("First", "Second", "Third"), start=1)
    ]
    named = [f"Option {name}" for name in ("One", "Two", "Three")]
    choices = form(
        "Please choose",
        untitledSingle=plain,
        titledSingle={"type": "string", "oneOf": titled},
        legacyEnum={"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": named},
        untitledMulti={"type": "array", "items": plain},
        titledMulti={"type": "array", "items": {"anyOf": titled}},
    )
    return f"Elicitation completed: {await elicited(ctx, choices)}"


async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequiredResult:
    """Ask for a name."""
    name = filled(ctx, "user_name", "name")
    return f"Hello, {name}!" if name else ask(ASK_NAME)


async def test_input_required_result_sampling(ctx: Context) -> str | InputRequiredResult:
    """Ask the client's model."""
    capital = answer(ctx, "capital_question")
    if isinstance(capital, CreateMessageResult):
        return said(capital)
    return ask({"capital_question": question("What is the capital of France?")})


async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequiredResult:
    """Ask for the client's roots."""
    found = answer(ctx, "client_roots")
    if isinstance(found, ListRootsResult):
        return ", ".join(str(root.uri) for root in found.roots)
    return ask({"client_roots": ListRootsRequest()})


async def test_input_required_result_request_state(ctx: Context) -> str | InputRequiredResult:
    """Ask, and get the state back with the answer."""
    if filled(ctx, "confirm", "ok") and ctx.request_state == "asked":
        return "state-ok"
    return ask(CONFIRM, "asked")


async def test_input_required_result_tampered_state(ctx: Context) -> str | InputRequiredResult:
    """Ask with a state that must not be changed."""
    return await test_input_required_result_request_state(ctx)


async def test_input_required_result_multiple_inputs(ctx: Context) -> str | InputRequiredResult:
    """Ask three things at once."""
    requests: InputRequests = {
        **ASK_NAME,
        "greeting": question("Generate a greeting", max_tokens=50),
        "client_roots": ListRootsRequest(),
    }
    if all(answer(ctx, name) for name in requests) and ctx.request_state == "asked":
        return "All answered."
    return ask(requests, "asked")


async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequiredResult:
    """Ask twice; the state carries the first answer."""
    if color := filled(ctx, "step2", "color"):
        return f"{ctx.request_state} likes {color}."
    if name := filled(ctx, "step1", "name"):
        return ask({"step2": form("Step 2: What is your favorite color?", color={"type": "string"})}, name)
    return ask({"step1": form("Step 1: What is your name?", name={"type": "string"})}, "nobody yet")


async def test_input_required_result_capabilities(ctx: Context) -> InputRequiredResult:
    """Only send requests that the client supports."""
    able: InputRequests = {}
    if ctx.session.check_client_capability(ClientCapabilities(sampling=SamplingCapability())):
        able["capital_question"] = question("What is the capital of France?")
    if ctx.session.check_client_capability(ClientCapabilities(elicitation=ElicitationCapability())):
        able |= ASK_NAME
    return ask(able, "asked")


async def test_missing_capability(ctx: Context) -> str:
    """Need a capability of the client."""
    sampling = ClientCapabilities(sampling=SamplingCapability())
    if not ctx.session.check_client_capability(sampling):
        data = MissingRequiredClientCapabilityErrorData(required_capabilities=sampling)
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs the client's sampling.",
            data.model_dump(by_alias=True, exclude_none=True),
        )
    return "The client can sample."


async def test_streaming_elicitation(ctx: Context) -> str | InputRequiredResult:
    """Ask after some progress."""
    await ctx.report_progress(50, 100)
    name = filled(ctx, "user_name", "name")
    return f"Hello, {name}!" if name else ask(ASK_NAME)


async def test_custom_headers(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> str:
    """Take an argument that a header repeats."""
    return region


TOOLS = (
    test_simple_text,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
    test_tool_with_logging,
    test_logging_tool,
    test_error_handling,
    test_tool_with_progress,
    test_sampling,
    test_elicitation,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_input_required_result_elicitation,
    test_input_required_result_sampling,
    test_input_required_result_list_roots,
    test_input_required_result_request_state,
    test_input_required_result_tampered_state,
    test_input_required_result_multiple_inputs,
    test_input_required_result_multi_round,
    test_input_required_result_capabilities,
    test_missing_capability,
    test_streaming_elicitation,
    test_custom_headers,
)


def add_suite(mcp: FastMCP[Any]) -> None:
    """Add all tools, resources, prompts and completions that the suite requires."""
    for tool in TOOLS:
        mcp.tool(tool)

    @mcp.resource("test://static-text", mime_type="text/plain", description="A text")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @mcp.resource("test://static-binary", mime_type="image/png", description="An image")
    def static_binary() -> bytes:
        return b64decode(PNG)

    @mcp.resource("test://watched-resource", mime_type="text/plain", description="To subscribe to")
    def watched_resource() -> str:
        return "This resource never changes."

    @mcp.resource("test://template/{id}/data", mime_type="application/json", description="Data by number")
    def template_data(id: str) -> ResourceResult:  # noqa: A002
        data = json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})
        return ResourceResult([ResourceContent(data, mime_type="application/json")])

    @mcp.prompt(description="A text")
    def test_simple_prompt() -> str:
        return "This is a simple prompt for testing."

    @mcp.prompt(description="A text with two arguments")
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @mcp.prompt(description="A resource and a text")
    def test_prompt_with_embedded_resource(resourceUri: str) -> PromptResult:  # noqa: N803
        resource = embedded(resourceUri, "Embedded resource content for testing.")
        return PromptResult([Message(resource), Message("Please process the embedded resource above.")])

    @mcp.prompt(description="An image and a text")
    def test_prompt_with_image() -> PromptResult:
        return PromptResult([Message(IMAGE), Message("Please analyze the image above.")])

    @mcp.prompt(description="A text that needs an answer first")
    def test_input_required_result_prompt(ctx: Context) -> str | InputRequiredResult:
        context = filled(ctx, "user_context", "context")
        asked = form("What context should the prompt use?", context={"type": "string"})
        return f"The context is {context}." if context else ask({"user_context": asked})

    @mcp.completion
    def complete(_reference: object, argument: Any, _context: object) -> list[str]:
        return [word for word in ("paris", "park", "party") if word.startswith(argument.value)]
