"""The WebSocket gateway, ``/ws/workflow``: programs in, what happens out.

Every message is one text frame with a JSON object, ``{"type": ..., "payload": {...}}``; those of the server also have
``seq``.

From the client::

    DSL_COMMAND  {command, workflowId?}     runs a program; workflowId becomes the id of the run, one is made without it
    CANCEL       {runId}                    cancels a run; answered once everything it had under way is gone
    SUBSCRIBE    {runId?, types?}           which events to send from now on; without both, those of all runs

From the server, for events (``workflowId`` is the run's id, ``nodeId`` the step's)::

    workflowStart     {workflowId, caller, steps}
    nodeStatusUpdate  {workflowId, nodeId, status, tool, agent, durationMs?, error?}
    workflowLog       {workflowId, level, message, source, nodeId?, progress?, total?}
    workflowComplete  {workflowId, result, message, toolResults, durationMs}
    workflowError     {workflowId, message, code, status, nodeId?, durationMs}
    event             {type, time, runId?, fields}: any other event, sent to who subscribed to its type
    gap               {missed}: events that this client did not get because it read too slowly

and for the sender of a message alone::

    dslProgress  {workflowId, stage, message, command?}: stage "planning" before a DSL_COMMAND is looked at,
                 after which comes ``workflowStart`` or ``error``; "cancelled" as the answer to CANCEL
    dslResult    {workflowId, command, success, status, result, steps, error, durationMs}
    subscribed   {runId, types}
    error        {message, code, request?, workflowId?, hint?, where?, details?}

``status`` is the state of a run or step: running, succeeded, failed, skipped, cancelled. Results above a bound (see
`messages`) are left out and the payload says ``"truncated": true``; ``GET /runs/ID`` has them.

``seq`` grows with every message of a connection. Numbers that are left out went to others, or to events that this
client does not see: what it should have seen and did not, ``gap`` counts, which stands in the place of those events. An
answer comes after all events that were published before it.

Closing: 1001 the agent stops, 1009 a message is too large, 1011 a fault on the agent's side or no answer to a ping,
1002 and 1007 a violation of the protocol. A client that stops reading is cut off without a closing frame, which could
not reach it. Closing the connection cancels the runs that were started over it.
"""
