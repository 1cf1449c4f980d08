// node tokenize.mjs REQUEST.json RESPONSE.json
// request:  { tokenizer: path of tokenizer.json, config: path of tokenizer_config.json, lines: [text], ids: [[id]] }
// response: { ids: [[id]], texts: [text] }   ids with special tokens added and parsed, texts with special tokens kept
import { readFileSync, writeFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";

const [requestPath, responsePath] = process.argv.slice(2);
const request = JSON.parse(readFileSync(requestPath, "utf8"));
const config = JSON.parse(readFileSync(request.config, "utf8"));
const tokenizer = new Tokenizer(JSON.parse(readFileSync(request.tokenizer, "utf8")), config);
const ids = request.lines.map((line) => tokenizer.encode(line).ids);
const texts = request.ids.map((list) => tokenizer.decode(list, { skip_special_tokens: false, clean_up_tokenization_spaces: false }));
writeFileSync(responsePath, JSON.stringify({ ids, texts }));
