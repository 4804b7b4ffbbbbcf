"""What the generated server may cost: the bars of `docs/benchmarks.md`, in one place.

All are ratios of processor time per call, against the server that is named, in one run.
"""

IN_MEMORY = 1.12  # of plain FastMCP, client and server together
STDIO = 1.12  # of plain FastMCP
HANDSHAKE = 1.1  # over HTTP, of plain FastMCP
# Over HTTP, of plain FastMCP. Since FastMCP 4.2 a call costs the same however many tools there are, so one limit serves
# for all numbers.
STATELESS = 1.25
STATELESS_OF_SDK = 1.3  # over HTTP, of the SDK's MCPServer
GROWTH_MIB = 5  # of resident memory
TELEMETRY_MS = 0.25  # of a call with traces and metrics and a batch exporter, more than without
TELEMETRY_OFF = 1.03  # of the server without the pattern
