// node normalize.mjs REQUEST.json RESPONSE.json      request: [text]   response: { nfc: [text], nfd: [text] }
import { readFileSync, writeFileSync } from "node:fs";

const [requestPath, responsePath] = process.argv.slice(2);
const lines = JSON.parse(readFileSync(requestPath, "utf8"));
writeFileSync(responsePath, JSON.stringify({ nfc: lines.map((t) => t.normalize("NFC")), nfd: lines.map((t) => t.normalize("NFD")) }));
