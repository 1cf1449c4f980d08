// node render.mjs REQUEST.json RESPONSE.json
// request:  [{ template, cases: [{ messages, tools?, add_generation_prompt, bos_token, eos_token, ... }] }]
// response: [[{ text } | { error }]]
import { readFileSync, writeFileSync } from "node:fs";
import { Template } from "@huggingface/jinja";

const [requestPath, responsePath] = process.argv.slice(2);
const request = JSON.parse(readFileSync(requestPath, "utf8"));
const response = request.map(({ template, cases }) => {
  const parsed = new Template(template);
  return cases.map((variables) => {
    try {
      return { text: parsed.render(variables) };
    } catch (error) {
      return { error: String(error.message) };
    }
  });
});
writeFileSync(responsePath, JSON.stringify(response));
