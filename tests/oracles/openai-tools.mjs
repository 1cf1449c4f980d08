// The official Node SDK's tools and responses against a scripted server: node openai-tools.mjs BASE_URL.
// The model calls get_weather({"city": "Bonn"}) after some reasoning and text, and says "It is X." once a tool has answered X. Exits non-zero at the first surprise.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: 'key', maxRetries: 0 });
const model = 'fake';
const messages = [{ role: 'user', content: 'Weather in Bonn?' }];
const parameters = { type: 'object', properties: { city: { type: 'string', maxLength: 12 } }, required: ['city'], additionalProperties: false };
const tools = [{ type: 'function', function: { name: 'get_weather', parameters } }];

// auto, whole and streamed through the helper that puts the pieces together
const whole = await client.chat.completions.create({ model, messages, tools });
assert.equal(whole.choices[0].finish_reason, 'tool_calls');
const message = whole.choices[0].message;
assert.deepEqual([message.content, message.reasoning_content], ['Let me look.', 'I need the weather.']);
assert.deepEqual(message.tool_calls[0].function, { name: 'get_weather', arguments: '{"city": "Bonn"}' });
assert.ok(whole.usage.completion_tokens_details.reasoning_tokens > 10);
let pieces = 0;
const runner = client.chat.completions.stream({ model, messages, tools }).on('tool_calls.function.arguments.delta', () => pieces++);
const streamed = (await runner.finalChatCompletion()).choices[0];
assert.equal(streamed.finish_reason, 'tool_calls');
assert.deepEqual(streamed.message.tool_calls[0].function.arguments, '{"city": "Bonn"}');
assert.equal(streamed.message.content, 'Let me look.');
assert.ok(pieces > 5, `${pieces}`);

// required, named, none
for (const tool_choice of ['required', { type: 'function', function: { name: 'get_weather' } }]) {
  const held = await client.chat.completions.create({ model, messages, tools, tool_choice, parallel_tool_calls: false });
  assert.equal(typeof JSON.parse(held.choices[0].message.tool_calls[0].function.arguments).city, 'string');
}
assert.equal((await client.chat.completions.create({ model, messages, tools, tool_choice: 'none' })).choices[0].message.content, 'Hello.');

// the helper that runs the tools itself
const run = client.chat.completions.runTools({
  model, messages, tools: [{ type: 'function', function: { name: 'get_weather', parameters, parse: JSON.parse, function: ({ city }) => `rainy in ${city}` } }],
});
assert.equal(await run.finalContent(), 'It is rainy in Bonn.');
const runStream = client.chat.completions.runTools({
  model, messages, stream: true, tools: [{ type: 'function', function: { name: 'get_weather', parameters, parse: JSON.parse, function: () => 'sunny' } }],
});
assert.equal(await runStream.finalContent(), 'It is sunny.');

// responses: whole, streamed through the helper, the answer to a call, a format
const flat = [{ type: 'function', name: 'get_weather', parameters, strict: true }];
const response = await client.responses.create({ model, input: 'Weather in Bonn?', tools: flat, instructions: 'Be brief.' });
assert.equal(response.output_text, 'Let me look.');
assert.deepEqual(response.output.map((item) => item.type), ['reasoning', 'message', 'function_call']);
const events = [];
const stream = client.responses.stream({ model, input: 'Weather in Bonn?', tools: flat }).on('event', (event) => events.push(event.type));
const final = await stream.finalResponse();
assert.equal(final.output_text, 'Let me look.');
assert.equal(final.output[2].arguments, '{"city": "Bonn"}');
assert.deepEqual([events[0], events[1], events.at(-1)], ['response.created', 'response.in_progress', 'response.completed']);
const next = await client.responses.create({
  model, tools: flat,
  input: [{ role: 'user', content: 'Weather in Bonn?' }, ...response.output, { type: 'function_call_output', call_id: response.output[2].call_id, output: 'foggy' }],
});
assert.equal(next.output_text, 'It is foggy.');
const parsed = await client.responses.parse({
  model, input: 'Sure?', text: { format: { type: 'json_schema', name: 'sure', strict: true, schema: { type: 'object', properties: { sure: { type: 'boolean' } }, required: ['sure'], additionalProperties: false } } },
});
assert.equal(typeof JSON.parse(parsed.output_text).sure, 'boolean');
const refused = (fields, param) => assert.rejects(client.responses.create({ model, input: 'x', ...fields }), (e) => e instanceof OpenAI.BadRequestError && e.param === param || assert.fail(JSON.stringify(e)));
await refused({ previous_response_id: 'resp_1' }, 'previous_response_id');
await refused({ tools: [{ type: 'web_search' }] }, 'tools[0].type');
await assert.rejects(client.responses.retrieve('resp_1'), OpenAI.NotFoundError);

console.log('ok');
