// A corpus of JSON schemas: what people send (OpenAI's, zod's and pydantic's ways of writing them), each supported keyword by itself and beside others, and
// schemas drawn from a seed. Every one must be accepted, and every answer validate. The second list must be refused by the path of the keyword.
const object = (properties, required = Object.keys(properties), more = {}) => ({ type: 'object', properties, required, additionalProperties: false, ...more });
const text = (maxLength = 12) => ({ type: 'string', maxLength });
const integer = (minimum, maximum) => ({ type: 'integer', minimum, maximum });
const list = (items, maxItems = 3, more = {}) => ({ type: 'array', items, maxItems, ...more });
const nullable = (schema) => ({ anyOf: [schema, { type: 'null' }] });

const written = {
  'math steps': object({ steps: list(object({ explanation: text(30), output: text() }), 2), final_answer: text() }),
  'research paper': object({ title: text(30), authors: list(text()), abstract: text(40), keywords: list(text(), 4) }),
  'calendar event': object({ name: text(), date: { type: 'string', format: 'date' }, participants: list(text()) }),
  'moderation': object({ is_violating: { type: 'boolean' }, category: nullable({ type: 'string', enum: ['violence', 'sexual', 'self_harm'] }), explanation_if_violating: nullable(text()) }),
  'recursive interface': {
    ...object({ type: { type: 'string', enum: ['div', 'button', 'field'] }, label: text(), children: list({ $ref: '#' }, 2), attributes: list(object({ name: text(), value: text() }), 2) }),
  },
  'linked list': { ...object({ head: { $ref: '#/$defs/node' } }), $defs: { node: object({ value: integer(0, 9), next: nullable({ $ref: '#/$defs/node' }) }) } },
  'tree by definitions': { $ref: '#/definitions/t', definitions: { t: { type: 'object', properties: { v: { type: 'boolean' }, kids: list({ $ref: '#/definitions/t' }, 2) }, required: ['v'] } } },
  'pydantic user': {
    title: 'User', type: 'object', required: ['id', 'name'],
    properties: {
      id: { title: 'Id', type: 'integer' }, name: { title: 'Name', type: 'string', maxLength: 10 }, email: { anyOf: [{ type: 'string', format: 'email' }, { type: 'null' }], default: null, title: 'Email' },
      tags: { default: [], items: { type: 'string', maxLength: 5 }, title: 'Tags', type: 'array', maxItems: 2 }, address: { allOf: [{ $ref: '#/$defs/Address' }] },
    },
    $defs: { Address: { title: 'Address', type: 'object', properties: { street: { type: 'string', maxLength: 9, title: 'Street' }, zip: { type: 'string', pattern: '^\\d{5}$' } }, required: ['street', 'zip'] } },
  },
  'zod union': { $schema: 'http://json-schema.org/draft-07/schema#', ...object({ kind: { anyOf: [object({ t: { type: 'string', const: 'a' }, n: { type: 'number', minimum: 0, maximum: 5 } }), object({ t: { const: 'b' }, s: text() })] } }) },
  'discriminated union': { oneOf: [object({ shape: { const: 'circle' }, r: integer(1, 9) }), object({ shape: { const: 'square' }, side: integer(1, 9) }), object({ shape: { const: 'none' } })] },
  'weather arguments': object({ location: { type: 'string', description: 'City', maxLength: 15 }, unit: { type: 'string', enum: ['celsius', 'fahrenheit'] } }),
  'optional properties': { type: 'object', properties: { a: { type: 'boolean' }, b: integer(0, 3), c: { type: 'null' }, d: text(4) }, required: ['c'] },
  'all optional': { type: 'object', properties: { a: { type: 'boolean' }, b: { type: 'boolean' } } },
  'open object': { type: 'object', properties: { id: integer(1, 3) }, required: ['id'], additionalProperties: { type: 'boolean' } },
  'map of lists': { type: 'object', additionalProperties: list({ type: 'boolean' }, 2) },
  'empty object': object({}),
  'properties without names': { type: 'object', properties: {} },
  'tuple': { type: 'array', prefixItems: [{ type: 'boolean' }, integer(1, 5), text(3)], items: false, minItems: 3, maxItems: 3 },
  'empty list': { type: 'array', items: false },
  'no items': { type: 'array', maxItems: 0 },
  'matrix': list(list(integer(0, 9), 3, { minItems: 3 }), 3, { minItems: 3 }),
  'types': { type: ['string', 'integer', 'null', 'boolean'], maxLength: 4, minimum: 0, maximum: 9 },
  'odd names': object({ 'a b': { type: 'boolean' }, 'ä"\\': { type: 'boolean' }, '😀': { type: 'boolean' }, '': { type: 'null' }, 'line\nbreak': { type: 'null' } }),
  'odd constants': { enum: ['a"b\\', 'é😀', 1.5, -3, null, true, [1, 'x', {}], { k: [null] }, ''] },
  'const object': { const: { a: [1, 2], b: { c: 'd' } } },
  'type without type': { properties: { a: { minimum: 1, maximum: 2 } }, required: ['a'] },
  'list without type': { items: { type: 'boolean' }, minItems: 1, maxItems: 2 },
  'text without type': { pattern: '^a+$' },
  'uuid': { type: 'string', format: 'uuid' },
  'date-time': { type: 'string', format: 'date-time' },
  'time': { type: 'string', format: 'time' },
  'ipv4': { type: 'string', format: 'ipv4' },
  'phone': { type: 'string', pattern: '^\\(\\d{3}\\) \\d{3}-\\d{4}$' },
  'identifier': { type: 'string', pattern: '^[A-Z]{2,4}-[0-9a-f]{1,6}$' },
  'alternatives': { type: 'string', pattern: '^(red|green|blue)(er)?$' },
  'semantic version': { type: 'string', pattern: '^(0|[1-9]\\d{0,2})\\.(0|[1-9]\\d{0,2})\\.(0|[1-9]\\d{0,2})$' },
  'dots and negations': { type: 'string', pattern: '^.{2,5}[^a-z"]$' },
  'exact length': { type: 'string', minLength: 5, maxLength: 5 },
  'at least': { type: 'string', minLength: 3, maxLength: 8 },
  'percent': { type: 'number', minimum: 0, maximum: 100 },
  'exclusive': { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 },
  'negative': { type: 'integer', minimum: -50, maximum: -7 },
  'both signs': { type: 'integer', minimum: -12, maximum: 345 },
  'one value': { type: 'integer', minimum: 7, maximum: 7 },
  'fraction bounds': { type: 'number', minimum: -1.5, maximum: 2.25 },
  'large': { type: 'integer', minimum: 1000000, maximum: 2000000 },
  'boolean': { type: 'boolean' },
  'null': { type: 'null' },
  'integer': { type: 'integer' },
  'number': { type: 'number' },
  'annotations': { type: 'object', title: 'T', description: 'd', $comment: 'c', deprecated: true, readOnly: false, examples: [{}], default: {}, properties: { a: { type: 'boolean', description: 'x', default: true } }, required: ['a'] },
  'deep': Array.from({ length: 12 }).reduce((inner) => object({ o: inner }), { type: 'boolean' }),
  'wide': object(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`field_${i}`, { type: 'boolean' }]))),
  'wide optional': { type: 'object', properties: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`field_${i}`, integer(0, 1)])) },
  'many words': { type: 'string', enum: Array.from({ length: 300 }, (_, i) => `word-${(i * 7919) % 1000}-${i}`) },
  'mutual recursion': { $ref: '#/$defs/a', $defs: { a: object({ b: nullable({ $ref: '#/$defs/b' }) }), b: object({ a: nullable({ $ref: '#/$defs/a' }), n: integer(0, 1) }) } },
  'escaped pointer': { ...object({ x: { $ref: '#/$defs/a~1b%20c' } }), $defs: { 'a/b c': { type: 'boolean' } } },
};

// a small seeded generator: the same corpus everywhere
function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return (n) => Math.floor(next() * n);
}

function draw(pick, depth) {
  switch (pick(depth > 2 ? 8 : 12)) {
    case 0: return { type: 'boolean' };
    case 1: { const low = pick(400) - 200; return integer(low, low + pick(300)); }
    case 2: { const low = pick(50) - 25; return { type: 'number', minimum: low, maximum: low + 1 + pick(9) }; }
    case 3: { const low = pick(4); return { type: 'string', minLength: low, maxLength: low + pick(6) }; }
    case 4: return { enum: Array.from({ length: 1 + pick(4) }, (_, i) => [`v${i}`, i, null, true, { i }][pick(5)]).filter((value, i, all) => all.findIndex((other) => JSON.stringify(other) === JSON.stringify(value)) === i) };
    case 5: return { type: 'string', pattern: ['^[a-f]{1,4}$', '^x?y+z{2}$', '^(on|off)$', '^\\w{1,6}@\\d$', '^[^ ]{1,3}$'][pick(5)] };
    case 6: return { type: 'string', format: ['date', 'uuid', 'ipv4'][pick(3)] };
    case 7: return { const: ['c', 5, false, ['l']][pick(4)] };
    case 8: { const least = pick(2); return list(draw(pick, depth + 1), least + pick(3), { minItems: least }); }
    case 9: return { anyOf: [draw(pick, depth + 1), { type: 'null' }] };
    default: {
      const properties = Object.fromEntries(Array.from({ length: 1 + pick(4) }, (_, i) => [['name', 'a', 'ab', 'é', 'x_1', 'long name'][(pick(3) + i) % 6] + (i || ''), draw(pick, depth + 1)]));
      const names = Object.keys(properties).filter(() => pick(3) > 0);
      return { type: 'object', properties, required: names, ...(pick(2) ? { additionalProperties: false } : {}) };
    }
  }
}

const pick = random(20261122);
const drawn = Object.fromEntries(Array.from({ length: 260 }, (_, i) => [`drawn ${i}`, draw(pick, 0)]));

export const schemas = { ...written, ...drawn };

const inside = (schema) => object({ a: schema });
export const refused = [
  [inside({ type: 'array', uniqueItems: true }), 'properties.a.uniqueItems'], [inside({ not: {} }), 'properties.a.not'], [inside({ type: 'integer', multipleOf: 5 }), 'properties.a.multipleOf'],
  [inside({ type: 'object', patternProperties: { x: {} } }), 'properties.a.patternProperties'], [inside({ type: 'object', propertyNames: {} }), 'properties.a.propertyNames'],
  [inside({ type: 'object', minProperties: 1 }), 'properties.a.minProperties'], [inside({ type: 'object', maxProperties: 1 }), 'properties.a.maxProperties'],
  [inside({ type: 'array', contains: {} }), 'properties.a.contains'], [inside({ if: {}, then: {} }), 'properties.a.if'], [inside({ dependentRequired: {} }), 'properties.a.dependentRequired'],
  [inside({ dependentSchemas: {} }), 'properties.a.dependentSchemas'], [inside({ unevaluatedProperties: false }), 'properties.a.unevaluatedProperties'], [inside({ unevaluatedItems: false }), 'properties.a.unevaluatedItems'],
  [inside({ $dynamicRef: '#x' }), 'properties.a.$dynamicRef'], [inside({ allOf: [{}, {}] }), 'properties.a.allOf'], [inside({ oneOf: [{ type: 'integer' }, { type: 'number' }] }), 'properties.a.oneOf'],
  [inside({ anyOf: [{ type: 'integer' }], minimum: 3 }), 'properties.a.minimum'], [inside({ $ref: 'http://example.com' }), 'properties.a.$ref'], [inside({ $ref: '#/$defs/none' }), 'properties.a.$ref'],
  [inside({ type: 'string', pattern: '(?=a)' }), 'properties.a.pattern'], [inside({ type: 'string', pattern: '(a)\\1' }), 'properties.a.pattern'], [inside({ type: 'string', pattern: '\\p{L}' }), 'properties.a.pattern'],
  [inside({ type: 'string', pattern: 'a', maxLength: 3 }), 'properties.a.pattern'], [inside({ type: 'text' }), 'properties.a.type'], [inside({ type: 'array', prefixItems: [{}], items: {} }), 'properties.a.prefixItems'],
];
