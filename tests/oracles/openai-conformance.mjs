// The official Node SDK's features and error classes against a running server: node openai-conformance.mjs BASE_URL.
// The server has the key "good", one place and no queue, and is slow enough that a long answer can be caught running. Exits non-zero at the first surprise.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const baseURL = `${process.argv[2]}/v1`;
const client = new OpenAI({ baseURL, apiKey: 'good', maxRetries: 0 });
const model = 'fake';
const messages = [{ role: 'user', content: ' 1 2' }];
const long = { model, messages, max_tokens: 900, ignore_eos: true };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// the place of an aborted answer is free when the engine has let go: ask until it is
async function settle() {
  for (let i = 0; i < 200; i++) {
    try {
      return await client.completions.create({ model, prompt: ' 1', max_tokens: 1 });
    } catch (e) {
      assert.ok(e instanceof OpenAI.RateLimitError, e);
      await sleep(25);
    }
  }
  assert.fail('the place was never given back');
}

// models
const names = [];
for await (const card of client.models.list()) {
  names.push(card.id);
}
assert.deepEqual(names, ['fake', 'org/alias']);
assert.equal((await client.models.retrieve('fake')).object, 'model');
await assert.rejects(client.models.retrieve('nope'), (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');

// raw responses and ids
const { data, response, request_id } = await client.chat.completions.create({ model, messages, max_tokens: 2 }).withResponse();
assert.equal(response.status, 200);
assert.equal(request_id, response.headers.get('x-request-id'));
assert.equal(data._request_id, request_id);
const mine = await client.chat.completions.create({ model, messages, max_tokens: 1 }, { headers: { 'X-Request-Id': 'my-own-id' } }).asResponse();
assert.equal(mine.headers.get('x-request-id'), 'my-own-id');

// completions: batches, echo, logprobs, and a stream with usage that says the same
const request = { model, prompt: [' 1 2', ' 3'], max_tokens: 4, seed: 7, logprobs: 1, extra: 1 };
await settle();
const batch = await client.completions.create({ ...request, prompt: ' 1 2' });
assert.equal(batch.object, 'text_completion');
assert.equal(batch.choices[0].logprobs.tokens.join(''), batch.choices[0].text);
let text = '';
let usage = null;
for await (const part of await client.completions.create({ ...request, prompt: ' 1 2', stream: true, stream_options: { include_usage: true } })) {
  text += part.choices[0]?.text ?? '';
  usage = part.usage ?? usage;
}
assert.equal(text, batch.choices[0].text);
assert.deepEqual(usage, batch.usage);
assert.ok((await client.completions.create({ model, prompt: ' 1 2', max_tokens: 1, echo: true })).choices[0].text.startsWith(' 1 2'));
const none = await client.completions.create({ model, prompt: ' 1 2', max_tokens: 0, echo: true });
assert.deepEqual([none.choices[0].text, none.usage.completion_tokens], [' 1 2', 0]);

// the streaming helper's events and its snapshot
const seen = { content: 0, chunk: 0, end: 0 };
const runner = client.chat.completions.stream({ model, messages, max_tokens: 5, ignore_eos: true, seed: 7, stream_options: { include_usage: true } })
  .on('content', () => seen.content++).on('chunk', () => seen.chunk++).on('end', () => seen.end++);
const final = await runner.finalChatCompletion();
assert.equal(final.choices[0].finish_reason, 'length');
assert.equal((await runner.totalUsage()).completion_tokens, 5);
assert.ok(seen.content === 5 && seen.chunk >= 7 && seen.end === 1, JSON.stringify(seen));
const plain = await client.chat.completions.create({ model, messages, max_tokens: 5, ignore_eos: true, seed: 7 });
assert.equal(final.choices[0].message.content, plain.choices[0].message.content);

// error classes
const bad = (fields, check) => assert.rejects(client.chat.completions.create({ model, messages, ...fields }), (e) => Boolean(check(e)) || assert.fail(JSON.stringify(e)));
await assert.rejects(new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 }).models.list(), (e) => e instanceof OpenAI.AuthenticationError && e.code === 'invalid_api_key');
await bad({ top_p: 0 }, (e) => e instanceof OpenAI.BadRequestError && e.status === 400 && e.param === 'top_p' && e.type === 'invalid_request_error' && e.requestID);
await bad({ tools: [{ type: 'custom', custom: { name: 'f' } }] }, (e) => e instanceof OpenAI.BadRequestError && e.code === 'unsupported_parameter' && e.param === 'tools[0].type');
await bad({ model: 'nope' }, (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');
await bad({ max_tokens: 5000 }, (e) => e instanceof OpenAI.BadRequestError && e.code === 'context_length_exceeded');

// abort controllers: a stream, and an answer that has not begun to come
const abort = new AbortController();
const stream = await client.chat.completions.create({ ...long, stream: true }, { signal: abort.signal });
let events = 0;
for await (const part of stream) {
  events += part.choices.length;
  if (events === 5) {
    abort.abort();
  }
}
assert.ok(events >= 5 && events < 500, `${events}`);
await settle();
const quick = new AbortController();
setTimeout(() => quick.abort(), 50);
await assert.rejects(client.chat.completions.create(long, { signal: quick.signal }), OpenAI.APIUserAbortError);
await settle();
await assert.rejects(client.chat.completions.create(long, { timeout: 50 }), OpenAI.APIConnectionTimeoutError);
await settle();

// overload: 429 with Retry-After at once without retries, and an answer with them
const holding = await client.chat.completions.create({ ...long, stream: true });
await assert.rejects(client.chat.completions.create({ model, messages, max_tokens: 1 }), (e) => e instanceof OpenAI.RateLimitError && e.status === 429
  && Number(e.headers.get('retry-after')) >= 1 && e.code === 'server_overloaded');
setTimeout(() => holding.controller.abort(), 300);
const began = Date.now();
const patient = client.withOptions({ maxRetries: 5 });
assert.equal((await patient.chat.completions.create({ model, messages, max_tokens: 1, ignore_eos: true })).usage.completion_tokens, 1);
assert.ok(Date.now() - began >= 900, 'the retry did not wait for Retry-After');

console.log('ok');
