// The official Node SDK against a running server: node openai-sdk.mjs BASE_URL. Exits non-zero at the first surprise.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: 'key', maxRetries: 0 });
const model = 'sals-tiny';
const messages = [{ role: 'user', content: 'What is the capital of France?' }];

assert.equal((await client.models.list()).data[0].id, model);

const plain = await client.chat.completions.create({ model, messages });
const text = plain.choices[0].message.content;
assert.match(text, /Paris/);
assert.equal(plain.choices[0].finish_reason, 'stop');
assert.equal(plain.usage.total_tokens, plain.usage.prompt_tokens + plain.usage.completion_tokens);

const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
let streamed = '';
let usage = null;
let finish = null;
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? '';
  finish = chunk.choices[0]?.finish_reason ?? finish;
  usage = chunk.usage ?? usage;
}
assert.equal(streamed, text);
assert.equal(finish, 'stop');
assert.equal(usage.completion_tokens, plain.usage.completion_tokens);

const helper = client.chat.completions.stream({ model, messages });
assert.equal(await helper.finalContent(), text);

const many = await client.chat.completions.create({ model, messages, n: 3, temperature: 1, seed: 1, logprobs: true, top_logprobs: 2, max_tokens: 4 });
assert.equal(many.choices.length, 3);
for (const choice of many.choices) {
  assert.ok(choice.logprobs.content.length >= 1);
  assert.equal(choice.logprobs.content[0].top_logprobs.length, 2);
  assert.ok(choice.logprobs.content[0].logprob <= 0);
}

const completion = await client.completions.create({ model, prompt: 'The sun', max_tokens: 4, temperature: 0 });
assert.equal(completion.usage.completion_tokens, 4);

await assert.rejects(client.chat.completions.create({ model: 'other', messages }), (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');
await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === 'temperature');
await assert.rejects(client.chat.completions.create({ model, messages, max_tokens: 100000 }), (e) => e.code === 'context_length_exceeded');

const long = await client.chat.completions.create({ model, messages, stream: true, max_tokens: 2000, ignore_eos: true });
let seen = 0;
for await (const chunk of long) {
  seen += chunk.choices.length;
  if (seen === 5) {
    long.controller.abort();
  }
}
assert.ok(seen >= 5 && seen < 2000);

console.log('ok');
