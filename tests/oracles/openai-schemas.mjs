// The corpus of schemas through the official Node SDK, as response formats and as parameters of tools that must be called: node openai-schemas.mjs BASE_URL MODEL.
// An answer that ends by itself parses and validates (Ajv); one that the limit cut is not judged, but few are.
import assert from 'node:assert/strict';
import Ajv from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import OpenAI from 'openai';
import { refused, schemas } from './schemas.mjs';

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: 'key', maxRetries: 3, timeout: 300_000 });
const model = process.argv[3];
const messages = [{ role: 'user', content: 'Answer with an example.' }];
const counts = { ended: 0, cut: 0, calls: 0 };

const validatorOf = (schema) => {
  const ajv = new Ajv({ strict: false, allErrors: true });
  formats(ajv);
  const { $schema, ...rest } = schema;
  return ajv.compile(rest);
};

function check(name, schema, json) {
  const value = JSON.parse(json);
  const validate = validatorOf(schema);
  assert.ok(validate(value), `${name}: ${json} does not validate against ${JSON.stringify(schema)}: ${JSON.stringify(validate.errors)}`);
}

async function ask(name, schema, i) {
  const settings = { model, messages, temperature: [0, 0.7, 1, 1.5][i % 4], seed: i, max_tokens: 160 };
  if (i % 3 === 0 && schema.type === 'object') {
    const answer = await client.chat.completions.create({
      ...settings, tools: [{ type: 'function', function: { name: 'submit', parameters: schema } }, { type: 'function', function: { name: 'other' } }],
      tool_choice: { type: 'function', function: { name: 'submit' } }, parallel_tool_calls: false,
    });
    const { finish_reason, message } = answer.choices[0];
    if (finish_reason === 'tool_calls') {
      assert.equal(message.tool_calls.length, 1);
      check(name, schema, message.tool_calls[0].function.arguments);
      counts.calls++;
      return;
    }
    assert.equal(finish_reason, 'length', name);
    counts.cut++;
    return;
  }
  const answer = await client.chat.completions.create({ ...settings, response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } } });
  const { finish_reason, message } = answer.choices[0];
  if (finish_reason === 'stop') {
    check(name, schema, message.content);
    counts.ended++;
  } else {
    assert.equal(finish_reason, 'length', name);
    counts.cut++;
  }
}

const waiting = Object.entries(schemas).map((entry, i) => [...entry, i]);
assert.ok(waiting.length >= 300);
await Promise.all(Array.from({ length: 8 }, async () => {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    await ask(...next);
  }
}));
const all = Object.keys(schemas).length;
assert.ok(counts.ended + counts.calls >= 0.8 * all, JSON.stringify(counts));

for (const [schema, path] of refused) {
  const formatted = client.chat.completions.create({ model, messages, response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } } });
  await assert.rejects(formatted, (e) => e instanceof OpenAI.BadRequestError && e.param === `response_format.json_schema.schema.${path}` || assert.fail(`${path}: ${e.param} ${e.message}`));
  const called = client.chat.completions.create({ model, messages, tools: [{ type: 'function', function: { name: 'f', parameters: schema } }], tool_choice: 'required' });
  await assert.rejects(called, (e) => e instanceof OpenAI.BadRequestError && e.param === `tools[0].function.parameters.${path}` || assert.fail(`${path}: ${e.param} ${e.message}`));
}

console.log(`ok ${JSON.stringify(counts)}`);
